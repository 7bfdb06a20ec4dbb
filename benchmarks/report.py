"""Writes the tables of docs/performance.md and its charts from the results in JSON: no figure is typed by hand.

python benchmarks/report.py [--publish FOLDER] [--page FILE] [--images FOLDER]

The page shows the results in benchmarks/published; --publish copies there first what a run has written.
"""

import argparse
import json
import re
import shutil
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
    for question in results:
        shutil.copy(folder / f"{question}.json", published / f"{question}.json")


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
