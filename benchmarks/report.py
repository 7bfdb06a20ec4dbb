"""Writes the tables of docs/performance.md and its charts from the results in JSON: no figure is typed by hand.

python benchmarks/report.py [--publish FOLDER] [--page FILE] [--images FOLDER]

The page shows the results in benchmarks/published; --publish copies there first what a run has written.
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
    """The results in a folder, by question; those that are not there are left out."""
    paths = {question: folder / f"{question}.json" for question in TABLES}
    return {question: json.loads(path.read_text(encoding="utf-8")) for question, path in paths.items() if path.exists()}


def fill(page: str, results: Mapping[str, dict[str, Any]]) -> str:
    """A page with the tables of its questions between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        ValueError: If the page has no place for a question.
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
    """Copy results to where those lie that the page shows.

    Raises:
        SystemExit: If there are none.
    """
    results = read_results(folder)
    if not results:
        raise SystemExit(f"{folder} holds no results: run benchmarks/suite.py first")
    published.mkdir(parents=True, exist_ok=True)
    before = read_results(published)
    for question, result in results.items():
        merged = with_others(result, before.get(question, {}))
        (published / f"{question}.json").write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")


def with_others(result: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the comparisons of an earlier one that it did not make anew, where the machine is the same."""
    if "comparisons" not in result:
        return dict(result)
    here = {name: result["machine"][name] for name in ("processor", "cores")}
    made = {(one["model"], one["workload"]) for one in result["comparisons"]}
    kept = [
        one
        for one in before.get("comparisons", ())
        if (one["model"], one["workload"]) not in made and here.items() <= one.get("measured", {}).items()
    ]
    contestants = {**before.get("contestants", {}), **result["contestants"]} if kept else result["contestants"]
    return {**result, "contestants": contestants, "comparisons": [*kept, *result["comparisons"]]}


def _not_measured(question: str) -> str:
    return f"*Not measured: `python benchmarks/{question}.py` does it.*"


def main() -> None:
    """Fill the page and draw the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", type=Path, help="the results to show from now on; others stay as they are")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: %(default)s)")
    parser.add_argument("--images", type=Path, default=IMAGES, help="where charts go (default: %(default)s)")
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
