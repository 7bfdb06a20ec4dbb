"""Writes the tables of a model's options into docs/reference, from ModelArgs and the commands that have the options.

python benchmarks/option_tables.py [--check]

A table is between the lines ``<!-- options: NAME -->`` and ``<!-- end of options -->``. NAME is "LLM" or the name of a
command; those of commands other than ``embed`` and ``serve`` are lists of names. ``--check`` writes nothing
and fails if a page is not up to date.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

from typer.main import get_command

from millpond.plugin.manager import PluginManager
from millpond.types.model_args import MODEL_ARGS, describe
from millpond_command.model_options import declared, names_of

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
PAGES = ("llm.md", "cli.md")
BLOCK = re.compile(r"<!-- options: (?P<name>.+?) -->\n.*?<!-- end of options -->", re.DOTALL)
WITH_TABLES = ("embed", "serve")
MODEL_ROW = (
    "`model`",
    "required",
    "A folder, a hub id (`org/name`), or `scheme:name` to ask one source: [Load a model](../how-to/load-a-model.md).",
)
PLUGINS_ROW = (
    "`plugins`",
    "`None`",
    "The `PluginManager` to use; None for the one of the process, with all installed plugins.",
)


def linked(name: str, text: str) -> str:
    """A text on an option, with a link to the page that says more."""
    see = MODEL_ARGS[name].see
    return text if see is None else f"{text} See [{see[0]}]({relpath(DOCS / see[1], REFERENCE)})."


def row(*cells: str) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def of_llm() -> Iterator[str]:
    """The table of the arguments of ``LLM``."""
    yield row("argument", "default", "what it says")
    yield "|---|---|---|"
    yield row(*MODEL_ROW)
    for name, it in MODEL_ARGS.items():
        yield row(f"`{name}`", f"`{it.default!r}`".replace("'", '"'), linked(name, describe(name, python=True)))
    yield row(*PLUGINS_ROW)


def of_command(command: str) -> Iterator[str]:
    """The table or list of the options of a command that are those of a model."""
    entry = PluginManager(ranks=("builtin",), disabled=()).registry.commands.get(command)
    names = [it.name for it in get_command(entry.load()).params if is_model_option(it)]
    if command not in WITH_TABLES:
        spelled = ", ".join(f"`{spelling}`" for name in names for spelling in names_of(name))
        yield f"Options of the model, as for `embed`: {spelled}."
        return
    yield row("option", "default", "what it does")
    yield "|---|---|---|"
    for name in names:
        it = MODEL_ARGS[name]
        spelled = ", ".join(f"`{spelling}`" for spelling in names_of(name)) + (f" `{it.metavar}`" if it.metavar else "")
        default = it.shown or (f"`{it.default}`" if isinstance(it.default, str) else "")
        text = it.description if it.metavar == "JSON" else it.description.replace('"', "")
        yield row(spelled, default, linked(name, text))


def is_model_option(parameter: Any) -> bool:
    """True if an option of a command is made from ``ModelArgs``; others may have the same name."""
    return parameter.name in MODEL_ARGS and parameter.help == declared(parameter.name).help


def rendered(page: str) -> str:
    """The text of a page with its tables as they should be."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        lines = of_llm() if name == "LLM" else of_command(name)
        return "\n".join([f"<!-- options: {name} -->", "", *lines, "", "<!-- end of options -->"])

    return BLOCK.sub(block, page)


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    check = parser.parse_args().check
    late = []
    for name in PAGES:
        path = REFERENCE / name
        now = path.read_text(encoding="utf-8")
        if rendered(now) != now:
            late.append(name)
            if not check:
                path.write_text(rendered(now), encoding="utf-8")
    if check and late:
        print(f"not up to date: {', '.join(late)}; run python benchmarks/option_tables.py", file=sys.stderr)
    return int(check and bool(late))


if __name__ == "__main__":
    sys.exit(main())
