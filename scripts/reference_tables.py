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
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from os.path import relpath
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.main import get_command

from millpond.plugin import hookspecs, specs
from millpond.plugin.manager import HOOKS, PluginManager
from millpond.types.model_args import MODEL_ARGS, describe
from millpond_command.model_options import names_of, option_for
from millpond_jobs.recipe import Recipe
from millpond_server.apis.catalogue import APIS
from millpond_server.observability.metrics import Metrics
from millpond_server.runtime.models import Models

DOCS = Path(__file__).resolve().parents[1] / "docs"
START = re.compile(r"^<!-- table: (?P<kind>\w+) (?P<name>[\w ]+) -->$", re.MULTILINE)
BLOCK = re.compile(START.pattern + r"\n.*?^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
OPTION_OR_VARIABLE = re.compile(r"(?<![`\w/-])(--[a-z][a-z-]+|MILLPOND_[A-Z_]+|HF_TOKEN)\b(?!`)")
DEFAULT_IN_HELP = re.compile(r"\s*\(default: (?P<default>.+?)\)(?=\.?$)")
VALUE = re.compile(r"(?!none$)[\w.:/-]+")  # a value to type, not a phrase
ATTRIBUTE = re.compile(r"^    (?P<name>\w+): (?P<text>.+(?:\n {8,}.+)*)", re.MULTILINE)
REFERENCE_COMMAND = "embed"  # the tables of other commands list the options shared with it by name only
COMMANDS_WITH_FULL_TABLES = (REFERENCE_COMMAND, "serve")
MODEL_ROW = (
    "`model`",
    "required",
    "A folder, a hub id (`org/name`), or `scheme:name` to ask one source: [Load a model](../how-to/load-a-model.md).",
)
PLUGINS_ROW = ("`plugins`", "`None`", "The `PluginManager` to use; None for the manager of the process.")


def row(*cells: str) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield row(*header)
    yield f"|{'---|' * len(header)}"
    yield from (row(*cells) for cells in rows)


def escaped(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("|", r"\|")


def sentence(text: str) -> str:
    """Return a summary as a sentence for a cell of a table."""
    return escaped(f"{text[:1].upper()}{text[1:].removesuffix('.')}.")


# --- Arguments and options --------------------------------------------------------------------------------------------


def with_link(argument: str, text: str) -> str:
    """Return the text on an argument, followed by a link to the page that explains it."""
    see = MODEL_ARGS[argument].see
    return text if see is None else f"{text} See [{see[0]}]({relpath(DOCS / see[1], DOCS / 'reference')})."


def argument_table(name: str) -> Iterator[str]:
    """Yield the table of the arguments of ``LLM``."""
    if name != "LLM":
        message = f"unknown class {name!r}; available: LLM"
        raise ValueError(message)
    arguments = (
        (
            f"`{argument}`",
            f"`{it.default!r}`".replace("'", '"'),
            with_link(argument, describe(argument, python=True)),
        )
        for argument, it in MODEL_ARGS.items()
    )
    return table(("argument", "default", "description"), (MODEL_ROW, *arguments, PLUGINS_ROW))


def command_named(name: str) -> Any:
    """Return a built-in command, such as ``embed`` or ``plugins list``, as click knows it."""
    registry = PluginManager(ranks=("builtin",), disabled=()).registry
    first, _, second = name.partition(" ")
    command: Any = get_command(registry.commands.get(first).load())
    return command.commands[second] if second else command


def options_of(command: Any) -> list[Any]:
    """Return the options of a command that its help shows."""
    return [it for it in command.params if it.param_type_name == "option" and not it.hidden and it.name != "help"]


def is_model_option(option: Any) -> bool:
    """True if an option of a command is made from ``ModelArgs``; others may have the same name."""
    return option.name in MODEL_ARGS and option.help == option_for(option.name).help


def spellings(option: Any) -> tuple[str, ...]:
    """Return the names of an option on the command line."""
    if is_model_option(option):
        return names_of(option.name)
    return (*option.opts, *option.secondary_opts)


def default_cell(option: Any) -> str:
    """Return the default of an option as its cell of a table."""
    match = DEFAULT_IN_HELP.search(option.help)
    if option.required:
        return "required"
    if is_model_option(option):
        argument = MODEL_ARGS[option.name]
        default = argument.shown or (argument.default if isinstance(argument.default, str) else "")
    elif match:
        default = OPTION_OR_VARIABLE.sub(r"`\1`", match["default"])
    else:
        is_value = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
        default = str(option.default) if is_value else ""
    return f"`{default}`" if VALUE.fullmatch(default) else escaped(default)


def description_cell(option: Any) -> str:
    """Return the description of an option as its cell of a table."""
    if is_model_option(option):
        argument = MODEL_ARGS[option.name]
        text = argument.description if argument.metavar == "JSON" else argument.description.replace('"', "")
        return escaped(with_link(option.name, text))
    text = DEFAULT_IN_HELP.sub("", option.help).strip()
    return escaped(OPTION_OR_VARIABLE.sub(r"`\1`", text.replace("*", r"\*")))


def option_row(option: Any) -> tuple[str, ...]:
    """Return spellings, default and description of an option."""
    names = ", ".join(f"`{name}`" for name in spellings(option))
    metavar = MODEL_ARGS[option.name].metavar if is_model_option(option) else option.metavar
    return (f"{names} `{metavar}`" if metavar else names), default_cell(option), description_cell(option)


def declaration(option: Any) -> tuple[object, ...]:
    """Return the properties that are equal if two commands share an option."""
    return (*spellings(option), option.help, option.default, option.required)


def option_table(name: str) -> Iterator[str]:
    """Yield the options of a command.

    Commands that load a model share many options: only the table of ``embed`` describes these. The options of ``embed``
    and ``serve`` are in one table for each heading of their help.
    """
    options = options_of(command_named(name))
    header = ("option", "default", "description")
    if name in COMMANDS_WITH_FULL_TABLES:
        panels = dict.fromkeys(option.rich_help_panel or "Options" for option in options)
        for number, panel in enumerate(panels):
            yield from ("",) * (number > 0)
            yield from (f"#### {panel}", "")
            yield from table(header, (option_row(it) for it in options if (it.rich_help_panel or "Options") == panel))
        return
    described = {declaration(it) for it in options_of(command_named(REFERENCE_COMMAND))}
    shared = [it for it in options if declaration(it) in described]
    model = [it for it in shared if is_model_option(it)]
    specific = [it for it in options if it not in shared]
    paragraphs = []
    if specific:
        paragraphs.append([*table(header, map(option_row, specific))])
    others = [it for it in shared if it not in model]
    for subject, group in (("Options", others), ("Options of the model", model)):
        if group:
            names = ", ".join(f"`{spelling}`" for option in group for spelling in spellings(option))
            paragraphs.append([f"{subject} that are the same as for `{REFERENCE_COMMAND}`: {names}."])
    for number, lines in enumerate(paragraphs):
        yield from ("",) * (number > 0)
        yield from lines


# --- Records and hooks ------------------------------------------------------------------------------------------------


def in_markdown(text: str) -> str:
    """Return a text of a docstring as one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def attribute_texts(record: type[Any]) -> dict[str, str]:
    """Return the descriptions of a dataclass's fields from its docstring and those of its bases."""
    texts: dict[str, str] = {}
    for base in reversed(record.__mro__):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        texts |= {match["name"]: in_markdown(match["text"]) for match in ATTRIBUTE.finditer(section)}
    return texts


def default_of(field: Field[Any]) -> str:
    """Return the default of a field as its cell of a table."""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return "required"
    if is_dataclass(value):
        return f"`{type(value).__name__}()`"
    return "`{}`".format(repr(value).replace("'", '"'))


def type_name(annotation: Any) -> str:
    """Return a type in source form, without its module."""
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    bare = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)
    return re.sub(r"^Optional\[(.*)\]$", r"\1 | None", bare)


def field_table(record: type[Any]) -> Iterator[str]:
    """Yield the table of the fields of a dataclass that its callers set."""
    texts, types = attribute_texts(record), get_type_hints(record)
    return table(
        ("field", "type", "default", "description"),
        (
            (f"`{it.name}`", f"`{escaped(type_name(types[it.name]))}`", default_of(it), escaped(texts[it.name]))
            for it in fields(record)
            if it.init
        ),
    )


def opening(documented: Any) -> str:
    """Return the first sentence or paragraph of a docstring."""
    return in_markdown((inspect.getdoc(documented) or "").partition("\n\n")[0])


def record_table(name: str) -> Iterator[str]:
    """Yield the summary of a record, its fields, and the fields of each of its groups."""
    record = getattr(specs, name)
    yield from (opening(record), "")
    yield from field_table(record)
    for field in fields(record):
        if is_dataclass(field.default):
            group = type(field.default)
            yield from ("", f"### {group.__name__}", "", opening(group), "")
            yield from field_table(group)


def recipe_table(name: str) -> Iterator[str]:
    """Yield the table of the fields of ``Recipe``."""
    if name != Recipe.__name__:
        message = f"unknown recipe {name!r}; available: {Recipe.__name__}"
        raise ValueError(message)
    texts, types = attribute_texts(Recipe), get_type_hints(Recipe)
    return table(
        ("field", "type", "default", "description"),
        (
            (
                f"`{field}`",
                f"`{escaped(type_name(types[field]))}`",
                "required"
                if it.is_required()
                else f"`{it.get_default(call_default_factory=True)!r}`".replace("'", '"'),
                escaped(texts[field]),
            )
            for field, it in Recipe.model_fields.items()
        ),
    )


def hook_table(name: str) -> Iterator[str]:
    """Yield the table of all hooks."""
    if name != "all":
        message = f"unknown hooks {name!r}; available: all"
        raise ValueError(message)
    return table(
        ("hook", "record", "description"),
        (
            (f"[`{hook}`](../hooks/{hook}.md)", f"`{record.__name__}`", opening(getattr(hookspecs, hook)))
            for hook, record in HOOKS.items()
        ),
    )


# --- The server -------------------------------------------------------------------------------------------------------


def route_table(api: str) -> Iterator[str]:
    """Yield the table of the routes of an API, with and without its prefix; equal routes share a row."""
    records = APIS[api]
    rows: dict[tuple[str, str], list[str]] = {}
    for prefix, routes in (("", records.ROUTES), (f"/{api}", records.PREFIXED)):
        for spec in routes:
            method, _, path = spec.name.partition(" ")
            tasks = ", ".join(f"`{task}`" for task in spec.tasks)
            rows.setdefault((tasks, sentence(spec.summary)), []).append(f"`{method} {prefix}{path}`")
    return table(("routes", "tasks", "description"), ((", ".join(names), *rest) for rest, names in rows.items()))


class NoModels(Models):
    """The models of a server that has not loaded any: the metrics are described without them."""

    def __init__(self) -> None:
        self.served = ()


def metric_families() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield the name, type, labels and help of each metric."""
    metrics = Metrics(NoModels())
    metrics.watch_log(lambda: 0.0)
    # Metrics without samples reveal their labels nowhere else.
    for collector in dict.fromkeys(metrics.registry._collector_to_names):  # noqa: SLF001
        for family in collector.collect():
            labels = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, tuple(labels), family.documentation


def metric_table(name: str) -> Iterator[str]:
    """Yield the table of the server's metrics; those of the process, which prometheus_client defines, are one row."""
    if name != "server":
        message = f"unknown metrics {name!r}; available: server"
        raise ValueError(message)
    families = [it for it in metric_families() if it[0].startswith("millpond_")]
    return table(
        ("metric", "type", "labels", "description"),
        (
            *(
                (f"`{name}`", kind, ", ".join(f"`{it}`" for it in labels), sentence(text))
                for name, kind, labels, text in families
            ),
            ("`process_*`", "", "", "Memory, CPU time and open files of the process, from prometheus_client."),
        ),
    )


# --- Pages ------------------------------------------------------------------------------------------------------------

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
