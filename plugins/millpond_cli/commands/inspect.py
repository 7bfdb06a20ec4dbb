"""``millpond inspect``: the description of a model by its files, without loading it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import loading_arguments
from millpond_command import declare
from millpond_command.cli import FAILURE, USAGE, CommandError, echo, printable
from millpond_command.model_options import ModelOptions, option_for
from millpond_command.tables import table

if TYPE_CHECKING:
    from millpond_cli.inspect.report import Report

MAX_SHOWN_LABELS = 8

EXAMPLES = (
    "millpond inspect all-MiniLM-L6-v2",
    "millpond inspect BAAI/bge-reranker-base --json",
    """millpond inspect ./model --pooler-config '{"pooling_type": "CLS"}'""",
    "millpond inspect ./model --resolved",
)

app = declare.new_app()


@declare.command(app, examples=EXAMPLES)
def inspect(
    *,
    model: options.ModelArgument,
    as_json: options.AsJson = False,
    resolved: Annotated[
        bool, declare.option("Output", "--resolved", help="Print a model file: TOML that loads as the same model.")
    ] = False,
    model_options: ModelOptions,
    cache: Annotated[str | None, option_for("cache")] = None,
    cache_size: Annotated[str | None, option_for("cache_size")] = None,
) -> None:
    """Show the settings of a model and the file that each value came from.

    Reads the configuration files and, for the id of the space of embeddings, the weights; runs no code of the model.
    Exits with 1 and the reason if the model cannot be served.
    """
    arguments = replace(loading_arguments(model_options), cache=cache, cache_size=cache_size)
    if resolved and as_json:
        message = "--resolved and --json cannot be used together"
        raise CommandError(message, hint="remove one of them", exit_code=USAGE)
    if resolved:
        from millpond_cli.inspect.resolved import model_file  # noqa: PLC0415  imports torch

        echo(model_file(get_plugin_manager().registry, model, arguments))
        return
    from millpond_cli.inspect.report import inspect_model  # noqa: PLC0415  imports pydantic, not needed by --help

    report = inspect_model(get_plugin_manager().registry, model, arguments)
    if as_json:
        record = {**report.facts, "servable": not report.problems, "problems": report.problems, "notes": report.notes}
        echo(json.dumps(record, indent=2, default=str))
    else:
        echo(_text(report))
    raise typer.Exit(FAILURE if report.problems else 0)


def _text(report: "Report") -> str:
    facts = report.facts
    rows = [
        ["" if number else f"  {label}", line]
        for label, key, template in FACTS
        for number, line in enumerate(_lines(facts[key], template) if facts[key] else ())
    ]
    parts = [
        f"{facts['model']}: {'cannot be served' if report.problems else 'can be served'}\n",
        table(rows, wraps=True),
    ]
    for heading, entries in (("Notes", report.notes), ("Problems", report.problems)):
        if entries:
            parts += [f"\n{heading}", *(f"  - {entry}" for entry in entries)]
    return printable("\n".join(parts))


def _lines(fact: Any, template: Callable[[Any], Iterator[str]] | str) -> Iterable[str]:
    if callable(template):
        return template(fact)
    records = fact if isinstance(fact, list) else [fact]
    return (template.format(it, **it) if isinstance(it, dict) else template.format(it) for it in records)


def _architecture(it: dict[str, Any]) -> Iterator[str]:
    stated = [str(name) for name in it["stated"]] if isinstance(it["stated"], list) else []
    if it["name"] is None:
        yield f"{', '.join(stated)} (unknown: no plugin provides it)" if stated else "not specified"
        return
    yield f"{it['name']}, from {_plugin(it)}" + (f": {it['summary']}" if it["summary"] else "")
    if stated and it["name"] not in stated:
        yield f"used for {', '.join(stated)} of config.json, which is in the same family"


def _implementation(name: str) -> Iterator[str]:
    yield name if name == "native" else f"the model class of {name}"


def _converter(it: dict[str, Any]) -> Iterator[str]:
    yield f"{it['name']}, from {_plugin(it)}, {it['why']}: adds {', '.join(it['tasks'])}"


def _published(it: dict[str, Any]) -> Iterator[str]:
    for key, value in it.items():
        yield f"{key}: {json.dumps(value, ensure_ascii=False)}"


def _pooler(fields: dict[str, Any]) -> Iterator[str]:
    from millpond_cli.inspect.pooling import BUILTIN_DEFAULT  # noqa: PLC0415  as above

    for name, it in fields.items():
        if it["from"] != BUILTIN_DEFAULT:
            yield f"{name}: {json.dumps(it['value'], ensure_ascii=False)}, from {it['from']}"


def _classes(it: dict[str, Any]) -> Iterator[str]:
    labels = ", ".join(it["labels"][:MAX_SHOWN_LABELS]) + (" ..." if len(it["labels"]) > MAX_SHOWN_LABELS else "")
    yield f"{it['num_labels']}: {labels}; {it['activation']}, from {it['activation_from']}"


def _routes(routes: list[dict[str, Any]]) -> Iterator[str]:
    for it in routes:
        yield f"{it['input_type'] or 'texts without an input type'}: {it['route']}, {' > '.join(it['modules'])}"


def _matryoshka(it: dict[str, Any]) -> Iterator[str]:
    sizes = ", ".join(map(str, it["dimensions"])) if it["dimensions"] else "any smaller size"
    yield f"{sizes}, from {it['from']}"


def _listed(names: list[str]) -> Iterator[str]:
    yield ", ".join(names)


def _plugin(it: dict[str, Any]) -> str:
    return f"the plugin {it['plugin']}" + (f" ({it['distribution']})" if it["distribution"] else "")


def _tasks(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for it in tasks:
        activation = it["activation"] or "no activation"
        yield f"{it['name']}: {it['pooling']}, from {it['pooling_from']}; {activation}, from {it['activation_from']}"


def _lengths(it: dict[str, Any]) -> Iterator[str]:
    if it["value"] is not None:
        yield f"{it['value']} tokens, from {it['from']}"
    for other in it["stated"]:
        if not other["counts"]:
            yield f"{other['value']} in {other['file']} ({other['key']}) is not used"


def _tokenizer(it: dict[str, Any]) -> Iterator[str]:
    parts = [it["file"] or "none", it["class"], "lower-cases texts" if it["lower_case"] else None]
    yield ", ".join(str(part) for part in parts if part)


def _components(records: list[dict[str, Any]]) -> Iterator[str]:
    from millpond_cli.inspect.components import plugin_lines  # noqa: PLC0415  not needed by --help

    yield from plugin_lines(records)


def _prompts(it: dict[str, Any]) -> Iterator[str]:
    for name, text in it["named"].items():
        yield f"{name}: {text!r}{' (the default)' if name == it['default'] else ''}"


def _weights(it: dict[str, Any]) -> Iterator[str]:
    count = "pickled" if it["parameters"] is None else f"{it['parameters']:,} parameters"
    files = it["files"][0] if len(it["files"]) == 1 else f"{len(it['files'])} files, {it['files'][0]} ..."
    yield f"{count}, {it['bytes'] / 1e6:,.1f} MB in {files}"


def _cache(it: dict[str, Any]) -> Iterator[str]:
    name = it["name"] + (f":{it['address']}" if it["address"] else "")
    size = "the default size" if it["max_bytes"] is None else f"{it['max_bytes'] / 1e6:,.1f} MB"
    yield f"{name}, from {_plugin(it)}: {it['summary']}; at most {size}"


def _modalities(modalities: Sequence[str]) -> Iterator[str]:
    if modalities != ["text"]:  # the usual case is not shown
        yield " and ".join(modalities)


# For each fact in the output: its label, its key, and a function for its lines or a format string for each record.
FACTS: tuple[tuple[str, str, Callable[[Any], Iterator[str]] | str], ...] = (
    ("source", "source", "{0}"),
    ("folder", "path", "{0}"),
    ("architecture", "architecture", _architecture),
    ("backend", "implementation", _implementation),
    ("converter", "converter", _converter),
    ("published", "known", _published),
    ("modalities", "modalities", _modalities),
    ("tasks", "tasks", _tasks),
    ("pooler", "pooler", _pooler),
    ("classes", "classes", _classes),
    ("IO processor", "io_processor", "{name}, from the plugin {plugin}, specified in {from}"),
    ("plugins", "components", _components),
    ("dimensions", "embedding_size", "{0}"),
    ("messages", "messages", "texts are formatted with the chat template ({format}), from {from}"),
    ("routes", "routes", _routes),
    ("truncate dim", "truncate_dim", "the first {value} of {of} dimensions by default, from {from}"),
    ("matryoshka", "matryoshka", _matryoshka),
    ("dense", "dense", "{in_features} to {out_features}, {activation}, from {folder}"),
    ("max length", "max_model_len", _lengths),
    ("tokenizer", "tokenizer", _tokenizer),
    ("prompts", "prompts", _prompts),
    ("adapters", "adapters", _listed),
    ("similarity", "similarity", "{0}"),
    ("dtype", "dtype", "{value}, from {from}"),
    ("weights", "weights", _weights),
    ("space", "space", "{space_id}"),
    ("cache", "cache", _cache),
    ("custom code", "remote_code", "{names}, specified in {file} ({key})"),
)
