"""Write the generated tables of the documentation from the code: python scripts/reference_tables.py [--check].

A table is between the lines ``<!-- table: KIND NAME -->`` and ``<!-- end of table -->`` of a page. The kinds are:

    arguments LLM       the arguments of LLM and AsyncLLM, from ModelArgs
    options COMMAND     the options of a command, such as embed or plugins list
    record CLASS        the fields of a plugin's record, and of their groups
    recipe Recipe       the fields of a recipe of bulk jobs
    hooks all           the hooks, their records and summaries
    routes API          the HTTP routes of an API, such as openai
    metrics server      the metrics of millpond serve

``--check`` writes nothing and fails if a page is not up to date.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from option_tables import argument_table, option_table
from record_tables import hook_table, recipe_table, record_table
from server_tables import metric_table, route_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
START = re.compile(r"^<!-- table: (?P<kind>\w+) (?P<name>[\w -]+) -->$", re.MULTILINE)
BLOCK = re.compile(START.pattern + r"\n.*?^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
TABLES: dict[str, Callable[[str], Iterator[str]]] = {
    "arguments": argument_table,
    "options": option_table,
    "record": record_table,
    "recipe": recipe_table,
    "hooks": hook_table,
    "routes": route_table,
    "metrics": metric_table,
}


def pages() -> list[Path]:
    """Return the pages that have generated tables."""
    return [path for path in sorted(DOCS.rglob("*.md")) if START.search(path.read_text(encoding="utf-8"))]


def rendered(page: str) -> str:
    """Return the text of a page with its tables up to date."""

    def block(match: re.Match[str]) -> str:
        kind, name = match["kind"], match["name"]
        return "\n".join([f"<!-- table: {kind} {name} -->", "", *TABLES[kind](name), "", "<!-- end of table -->"])

    return BLOCK.sub(block, page)


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    check = parser.parse_args().check
    outdated = []
    for path in pages():
        page = path.read_text(encoding="utf-8")
        expected = rendered(page)
        if expected != page:
            outdated.append(path.relative_to(DOCS.parent).as_posix())
            if not check:
                path.write_text(expected, encoding="utf-8")
    if check and outdated:
        print(f"not up to date: {', '.join(outdated)}; run python scripts/reference_tables.py", file=sys.stderr)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
