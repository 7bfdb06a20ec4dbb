"""Write the tables and charts of docs/performance.md from the results in JSON.

python benchmarks/report.py [--publish FOLDER] [--page FILE] [--images FOLDER]

The page shows the results in benchmarks/published, which has a folder per kind of processor; --publish first copies
the results of a run to the folder of its processor.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charts import draw_latency, draw_throughput
from contestants import BY_NAME
from processors import kind_of, ordered, title_of
from tables import TABLES, markdown

HERE = Path(__file__).parent
PUBLISHED = HERE / "published"  # the results that the page shows
PAGE = HERE.parent / "docs" / "performance.md"
IMAGES = HERE.parent / "docs" / "images"
CHARTS = {"embed_throughput": draw_throughput, "latency": draw_latency}


Published = dict[str, dict[str, dict[str, Any]]]  # kind of processor -> question -> result


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder, by question."""
    paths = {question: folder / f"{question}.json" for question in TABLES}
    return {question: json.loads(path.read_text(encoding="utf-8")) for question, path in paths.items() if path.exists()}


def read_published(folder: Path) -> Published:
    """Return the published results by kind of processor, in the order of the page."""
    kinds = [path.name for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
    return {kind: read_results(folder / kind) for kind in ordered(kinds)}


def fill(page: str, published: Published) -> str:
    """Return a page with new tables between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        ValueError: If the page lacks the markers of a question.
    """
    for question in TABLES:
        begin, end = f"<!-- begin {question} -->", f"<!-- end {question} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must have {begin} and {end}, each once")
        results = {kind: results[question] for kind, results in published.items() if question in results}
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        inner = f"{begin}\n\n{_tables(question, results)}\n\n{end}"
        page = pattern.sub(lambda _, inner=inner: inner, page)  # type: ignore[misc]
    return page


def _tables(question: str, results: Mapping[str, dict[str, Any]]) -> str:
    """Return the tables of a question, with a heading per kind of processor if there are several."""
    if not results:
        return f"*Not measured: run `python benchmarks/{question}.py`.*"
    if len(results) == 1:
        return markdown(*results.values())
    return "\n\n".join(f"### {title_of(kind)}\n\n{markdown(result)}" for kind, result in results.items())


def publish(folder: Path, published: Path) -> None:
    """Copy results to the folder of published results, each below the kind of its processor.

    Raises:
        SystemExit: If the folder contains no results.
    """
    results = read_results(folder)
    if not results:
        raise SystemExit(f"{folder} contains no results: run benchmarks/suite.py first")
    for question, result in results.items():
        target = published / kind_of(result["machine"])
        target.mkdir(parents=True, exist_ok=True)
        merged = merged_with(result, read_results(target).get(question, {}))
        (target / f"{question}.json").write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")


def merged_with(result: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with the comparisons of an earlier result on the same machine that it does not replace."""
    if "comparisons" not in result:
        return dict(result)
    machine = {name: result["machine"][name] for name in ("processor", "cores")}
    kept = [
        it for it in before.get("comparisons", ()) if "measured" in it and machine.items() <= it["measured"].items()
    ]
    if not kept:
        return dict(result)
    comparisons = {(it["model"], it["workload"]): it for it in (*kept, *result["comparisons"])}  # in the earlier order
    contestants = {**before["contestants"], **result["contestants"]}
    contestants = {name: contestants[name] for name in BY_NAME if name in contestants}
    return {**result, "contestants": contestants, "comparisons": list(comparisons.values())}


def main() -> None:
    """Write the page and draw the charts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", type=Path, help="the folder with new results; other published results are kept")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: %(default)s)")
    parser.add_argument("--images", type=Path, default=IMAGES, help="the folder of the charts (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.publish, PUBLISHED)
    published = read_published(PUBLISHED)
    arguments.page.write_text(fill(arguments.page.read_text(encoding="utf-8"), published), encoding="utf-8")
    for question, draw in CHARTS.items():
        fastest = next((results[question] for results in published.values() if question in results), None)
        if fastest:
            draw(fastest, arguments.images / f"performance-{question.removeprefix('embed_')}.png")


if __name__ == "__main__":
    main()
