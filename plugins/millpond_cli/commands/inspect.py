"""``millpond inspect``: the description of a model by its files, without loading it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import read
from millpond_cli.io.tables import table
from millpond_command import declare
from millpond_command.cli import FAILURE, echo, printable
from millpond_command.model_options import Settings

if TYPE_CHECKING:
    from millpond_cli.inspect.report import Report

SHOWN = 8  # labels
UNSAID = "the default of Millpond"

EXAMPLES = (
    "millpond inspect all-MiniLM-L6-v2",
    "millpond inspect BAAI/bge-reranker-base --json",
    """millpond inspect ./model --pooler-config '{"pooling_type": "CLS"}'""",
)

app = declare.new_app()


@declare.command(app, examples=EXAMPLES)
def inspect(
    *,
    model: options.ModelArgument,
    as_json: options.AsJson = False,
    settings: Settings,
) -> None:
    """Show what a model is, and the file that each value came from.

    Reads the small files of a model and the headers of its weights; runs nothing of it. Exits with 1 and
    the reason if the model cannot be served.
    """
    arguments = read(settings)
    from millpond_cli.inspect.report import report_on  # noqa: PLC0415  needs pydantic; --help does not

    report = report_on(get_plugin_manager().registry, model, arguments)
    if as_json:
        whole = {**report.facts, "servable": not report.problems, "problems": report.problems, "notes": report.notes}
        echo(json.dumps(whole, indent=2, default=str))
    else:
        echo(_text(report))
    raise typer.Exit(FAILURE if report.problems else 0)


def _text(report: "Report") -> str:
    facts = report.facts
    rows = [
        ["" if number else f"  {label}", line]
        for label, key, form in FACTS
        for number, line in enumerate(_lines(facts[key], form) if facts[key] else ())
    ]
    parts = [
        f"{facts['model']}: {'cannot be served' if report.problems else 'can be served'}\n",
        table(rows, wraps=True),
    ]
    for heading, entries in (("Notes", report.notes), ("Problems", report.problems)):
        if entries:
            parts += [f"\n{heading}", *(f"  - {entry}" for entry in entries)]
    return printable("\n".join(parts))


def _lines(fact: Any, form: Callable[[Any], Iterator[str]] | str) -> Iterable[str]:
    if callable(form):
        return form(fact)
    records = fact if isinstance(fact, list) else [fact]
    return (form.format(it, **it) if isinstance(it, dict) else form.format(it) for it in records)


def _architecture(it: dict[str, Any]) -> Iterator[str]:
    stated = [str(name) for name in it["stated"]] if isinstance(it["stated"], list) else []
    if it["name"] is None:
        yield f"{', '.join(stated)}, which no plugin serves" if stated else "not stated"
        return
    yield f"{it['name']}, by {_plugin(it)}" + (f": {it['summary']}" if it["summary"] else "")
    if stated and it["name"] not in stated:
        yield f"of the same family as {', '.join(stated)}, which config.json names"


def _implementation(name: str) -> Iterator[str]:
    yield "natively" if name == "native" else f"by {name}, in whose code it is computed"


def _converter(it: dict[str, Any]) -> Iterator[str]:
    yield f"{it['name']}, by {_plugin(it)}, {it['why']}: gives {', '.join(it['tasks'])}"


def _known(it: dict[str, Any]) -> Iterator[str]:
    for key, value in it.items():
        yield f"{key}: {json.dumps(value, ensure_ascii=False)}"


def _pooler(fields: dict[str, Any]) -> Iterator[str]:
    for name, it in fields.items():
        if it["from"] != UNSAID:
            yield f"{name}: {json.dumps(it['value'], ensure_ascii=False)}, from {it['from']}"


def _classes(it: dict[str, Any]) -> Iterator[str]:
    labels = ", ".join(it["labels"][:SHOWN]) + (" ..." if len(it["labels"]) > SHOWN else "")
    yield f"{it['num_labels']}: {labels}; {it['activation']}, from {it['activation_from']}"


def _routes(found: list[dict[str, Any]]) -> Iterator[str]:
    for it in found:
        yield f"{it['input_type'] or 'texts without an input type'}: {it['route']}, {' > '.join(it['modules'])}"


def _matryoshka(it: dict[str, Any]) -> Iterator[str]:
    sizes = ", ".join(map(str, it["dimensions"])) if it["dimensions"] else "any smaller number of dimensions"
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
    for said in it["stated"]:
        if not said["counts"]:
            yield f"{said['value']} is stated by {said['file']} ({said['key']})"


def _tokenizer(it: dict[str, Any]) -> Iterator[str]:
    parts = [it["file"] or "none", it["class"], "lower-cased" if it["lower_case"] else None]
    yield ", ".join(str(part) for part in parts if part)


def _components(records: list[dict[str, Any]]) -> Iterator[str]:
    from millpond_cli.inspect.components import lines_of  # noqa: PLC0415  --help does not need it

    yield from lines_of(records)


def _prompts(it: dict[str, Any]) -> Iterator[str]:
    for name, text in it["named"].items():
        yield f"{name}: {text!r}{' (the default)' if name == it['default'] else ''}"


def _weights(it: dict[str, Any]) -> Iterator[str]:
    count = "pickled" if it["parameters"] is None else f"{it['parameters']:,} parameters"
    files = it["files"][0] if len(it["files"]) == 1 else f"{len(it['files'])} files, {it['files'][0]} ..."
    yield f"{count}, {it['bytes'] / 1e6:,.1f} MB in {files}"


def _reads(modalities: Sequence[str]) -> Iterator[str]:
    if modalities != ["text"]:  # nobody asks whether a model reads text
        yield " and ".join(modalities)


# The facts in their order: label, key, and the form of its lines: a function, or a template of each record.
FACTS: tuple[tuple[str, str, Callable[[Any], Iterator[str]] | str], ...] = (
    ("source", "source", "{0}"),
    ("folder", "path", "{0}"),
    ("architecture", "architecture", _architecture),
    ("served", "implementation", _implementation),
    ("converter", "converter", _converter),
    ("known", "known", _known),
    ("reads", "modalities", _reads),
    ("tasks", "tasks", _tasks),
    ("pooler", "pooler", _pooler),
    ("classes", "classes", _classes),
    ("IO processor", "io_processor", "{name}, by the plugin {plugin}, named by {from}"),
    ("plugins", "components", _components),
    ("dimensions", "embedding_size", "{0}"),
    ("messages", "messages", "texts are written by the chat template ({format}), from {from}"),
    ("routes", "routes", _routes),
    ("truncated", "truncate_dim", "the first {value} of {of} by default, from {from}"),
    ("matryoshka", "matryoshka", _matryoshka),
    ("dense", "dense", "{in_features} to {out_features}, {activation}, from {folder}"),
    ("max length", "max_model_len", _lengths),
    ("tokenizer", "tokenizer", _tokenizer),
    ("prompts", "prompts", _prompts),
    ("adapters", "adapters", _listed),
    ("similarity", "similarity", "{0}"),
    ("dtype", "dtype", "{value}, from {from}"),
    ("weights", "weights", _weights),
    ("own code", "remote_code", "{names}, named by {file} ({key})"),
)
