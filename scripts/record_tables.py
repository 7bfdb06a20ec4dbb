"""Generate the tables of records and hooks from their fields and docstrings."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from markdown_tables import escaped, table

from millpond.plugin import hookspecs
from millpond.plugin.hookspecs import HOOKSPECS
from millpond.plugin.manager import PluginManager
from millpond_recipes.recipe import Recipe

ATTRIBUTE = re.compile(r"^    (?P<name>\w+): (?P<text>.+(?:\n {8,}.+)*)", re.MULTILINE)


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


def all_hooks() -> dict[str, type[Any]]:
    """Return the record of each hook: those of the core, then those of kits, by name."""
    registry = PluginManager(ranks=("builtin",), disabled=()).registry
    records = {catalog.hook: catalog.record for catalog in registry.catalogs() if catalog.names()}
    core = [name for name in vars(hookspecs) if name in records]
    return {name: records[name] for name in (*core, *sorted(records.keys() - core))}


def record_table(name: str) -> Iterator[str]:
    """Yield the summary of a record, its fields, and the fields of each of its groups."""
    record = next(it for it in all_hooks().values() if it.__name__ == name)
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
            (f"[`{hook}`](../hooks/{hook}.md)", f"`{record.__name__}`", opening(HOOKSPECS[hook]))
            for hook, record in all_hooks().items()
        ),
    )
