"""Write the tables and charts of docs/performance.md from the results in JSON.

python benchmarks/report.py [--publish FOLDER] [--page FILE] [--images FOLDER]

The page shows the results in benchmarks/published; --publish first copies the results of a run to that folder.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charts import draw_latency, draw_throughput
from tables import TABLES, markdown

HERE = Path(__file__).parent
PUBLISHED = HERE / "published"  # the results that the page shows
PAGE = HERE.parent / "docs" / "performance.md"
IMAGES = HERE.parent / "docs" / "images"
CHARTS = {"embed_throughput": draw_throughput, "latency": draw_latency}


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder, by question."""
    paths = {question: folder / f"{question}.json" for question in TABLES}
    return {question: json.loads(path.read_text(encoding="utf-8")) for question, path in paths.items() if path.exists()}


def fill(page: str, results: Mapping[str, dict[str, Any]]) -> str:
    """Return a page with new tables between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        ValueError: If the page lacks the markers of a question.
    """
    for question in TABLES:
        begin, end = f"<!-- begin {question} -->", f"<!-- end {question} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must have {begin} and {end}, each once")
        text = markdown(results[question]) if question in results else _not_measured(question)
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page = pattern.sub(lambda _, inner=f"{begin}\n\n{text}\n\n{end}": inner, page)  # type: ignore[misc]
    return page


def publish(folder: Path, published: Path) -> None:
    """Copy results to the folder of published results.

    Raises:
        SystemExit: If the folder contains no results.
    """
    results = read_results(folder)
    if not results:
        raise SystemExit(f"{folder} contains no results: run benchmarks/suite.py first")
    published.mkdir(parents=True, exist_ok=True)
    before = read_results(published)
    for question, result in results.items():
        merged = merged_with(result, before.get(question, {}))
        (published / f"{question}.json").write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")


def merged_with(result: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with the comparisons of an earlier result on the same machine that it does not replace."""
    if "comparisons" not in result:
        return dict(result)
    machine = {name: result["machine"][name] for name in ("processor", "cores")}
    replaced = {(it["model"], it["workload"]) for it in result["comparisons"]}
    kept = [
        it
        for it in before.get("comparisons", ())
        if (it["model"], it["workload"]) not in replaced and machine.items() <= it.get("measured", {}).items()
    ]
    contestants = {**before.get("contestants", {}), **result["contestants"]} if kept else result["contestants"]
    return {**result, "contestants": contestants, "comparisons": [*kept, *result["comparisons"]]}


def _not_measured(question: str) -> str:
    return f"*Not measured: run `python benchmarks/{question}.py`.*"


def main() -> None:
    """Write the page and draw the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", type=Path, help="the folder with new results; other published results are kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: %(default)s)")
    parser.add_argument("--images", type=Path, default=IMAGES, help="the folder of the charts (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.publish, PUBLISHED)
    results = read_results(PUBLISHED)
    arguments.page.write_text(fill(arguments.page.read_text(encoding="utf-8"), results), encoding="utf-8")
    for question, draw in CHARTS.items():
        if question in results:
            draw(results[question], arguments.images / f"performance-{question.removeprefix('embed_')}.png")


if __name__ == "__main__":
    main()
