"""``millpond plugins``: lists and checks installed plugins, lists kernels, and writes new plugin packages."""

import json
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from millpond.plugin.manager import PluginInfo, PluginManager, get_plugin_manager
from millpond.plugin.registry import kind_label
from millpond.types.errors import quoted
from millpond_cli import options
from millpond_cli.inspect.doctor import ambiguities, faults_of, override_notes, overrides_of
from millpond_cli.scaffold.kinds import Kind
from millpond_cli.scaffold.names import PackageNames
from millpond_cli.scaffold.package import check_unused, write_package
from millpond_command import declare
from millpond_command.cli import FAILURE, USAGE, CommandError, echo, printable
from millpond_command.model_options import BatchInvariant, Quantization
from millpond_command.tables import table

STATUS_WIDTH = 8  # columns

app = declare.new_app()

Names = Annotated[list[str] | None, typer.Argument(metavar="PLUGIN", help="The plugins to check.", show_default="all")]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="The device, such as cpu or cuda.")]
Dtype = Annotated[str, typer.Option("--dtype", metavar="DTYPE", help="The dtype, such as float32 or bfloat16.")]
Needs = Annotated[
    list[str] | None,
    typer.Option(
        "--needs",
        metavar="NAME",
        help="A feature that the model requires from kernels, such as softcap. Repeatable.",
    ),
]
NewName = Annotated[
    str, typer.Argument(metavar="NAME", help="The name of the plugin, such as ripple.", show_default=False)
]
NewKind = Annotated[
    str, typer.Option("--kind", metavar="KIND", help=f"What it provides: {', '.join(Kind)}.", show_default=False)
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to create the package.", show_default="here")
]


@app.callback()
def plugins() -> None:
    """List, check and create plugins; list kernels."""


@declare.command(
    app,
    "list",
    examples=("millpond plugins list", "millpond plugins list --json"),
    short_help="List the plugins and their records.",
)
def list_plugins(*, as_json: options.AsJson = False) -> None:
    """List the plugins with their origin, status, records and overrides.

    A plugin that failed to load is listed with the stage and the reason. The targets of records are not imported.
    """
    records = [_record(info) for info in get_plugin_manager().plugins()]
    if as_json:
        echo(json.dumps(records, indent=2))
        return
    rows = [[it["name"], it["status"], it["origin"], _distribution(it), _counts(it)] for it in records]
    echo(table([["PLUGIN", "STATUS", "ORIGIN", "DISTRIBUTION", "PROVIDES"], *rows]))
    overrides = [_override_line(record["name"], it) for record in records for it in record["overrides"]]
    if overrides:
        echo(printable("\n".join(["", "OVERRIDES", *overrides])))
    for record in records:
        if record["failure"] is not None:
            echo(f"\n{printable(_failure(record))}")


@declare.command(
    app,
    examples=("millpond plugins doctor", "millpond plugins doctor models --json"),
    short_help="Check plugins, their records and targets.",
)
def doctor(*, names: Names = None, as_json: options.AsJson = False) -> None:
    """Check plugins, their records and targets, and show how to fix errors.

    Checks everything that does not need a model: fields, names, targets, signatures, and the results of poolers and
    activations for random values. Exits with 1 if there are errors. Overrides, ambiguous names and notes are listed but
    do not change the exit code.
    """
    manager = get_plugin_manager()
    plugins = _plugins_named(manager, names)
    records = [_record(info) for info in plugins]
    for record, info in zip(records, plugins, strict=True):
        faults = faults_of(manager, info)
        record["broken"] = [fault for fault in faults if not fault["note"]]
        record["notes"] = [fault for fault in faults if fault["note"] and info.origin.rank != "builtin"]
    ambiguous = ambiguities(manager.registry, [info.name for info in plugins])
    healthy = not any(record["failure"] or record["broken"] for record in records)
    if as_json:
        echo(json.dumps({"healthy": healthy, "plugins": records, "ambiguous": ambiguous}, indent=2))
    else:
        overrides = [line for info in plugins for line in override_notes(manager.registry, info)]
        _print_health(records, [*overrides, *ambiguous])
    raise typer.Exit(0 if healthy else FAILURE)


@declare.command(
    app,
    examples=("millpond plugins kernels", "millpond plugins kernels --device cuda --dtype bfloat16"),
    short_help="List the kernels of each op.",
)
def kernels(
    *,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    quantization: Quantization = None,
    batch_invariant: BatchInvariant = False,
    needs: Needs = None,
    as_json: options.AsJson = False,
) -> None:
    """List the kernels of each op, the selected one first, and the reason for each choice."""
    from millpond_cli.inspect.kernels import kernel_records  # noqa: PLC0415  imports torch

    records = kernel_records(
        get_plugin_manager().registry,
        device,
        dtype,
        quantization=quantization,
        batch_invariant=batch_invariant,
        required_features=needs or (),
    )
    if as_json:
        echo(json.dumps(records, indent=2))
        return
    statuses = ["selected" if it["chosen"] else "available" if it["fits"] else "unsupported" for it in records]
    rows = [[it["name"], status, it["plugin"], it["reason"]] for it, status in zip(records, statuses, strict=True)]
    echo(table([["KERNEL", "STATUS", "PLUGIN", "REASON"], *rows]))


@declare.command(
    app,
    examples=("millpond plugins new ripple --kind pooler", "millpond plugins new acme --kind route -o ~/plugins"),
    short_help="Create a plugin package with tests.",
)
def new(name: NewName, *, kind: NewKind, output: Output = Path()) -> None:
    """Create a plugin package: entry point, plugin module, a component that runs, conformance tests, README, CI.

    The package is called millpond-NAME. An existing folder is never changed.
    """
    names, selected = PackageNames.of(name), Kind.named(kind)
    check_unused(names, selected, get_plugin_manager())
    folder, paths = write_package(names, selected, output)
    echo(printable(f"Created {folder}:"))
    echo("".join(f"  {path}\n" for path in paths))
    echo(printable(f"Next:\n  cd {shlex.quote(str(folder))}\n  pip install -e '.[test]'\n  pytest"))


def _plugins_named(manager: PluginManager, names: list[str] | None) -> Sequence[PluginInfo]:
    """Return the plugins with these names; all plugins if no name is given.

    Raises:
        CommandError: A name is unknown.
    """
    plugins = manager.plugins()
    if not names:
        return plugins
    available = [info.name for info in plugins]
    unknown = next((name for name in names if name not in available), None)
    if unknown is not None:
        close = get_close_matches(unknown, available)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        message = f"Unknown plugin {unknown!r}{hint}. Available: {', '.join(available)}"
        raise CommandError(message, exit_code=USAGE)
    return [info for info in plugins if info.name in names]


def _record(info: PluginInfo) -> dict[str, Any]:
    catalogs = get_plugin_manager().registry.catalogs()
    provided = {
        catalog.kind: [it.spec.name for it in catalog.entries(overridden=True) if it.origin == info.origin]
        for catalog in catalogs
    }
    failure = info.failure
    return {
        "name": info.name,
        "status": info.status,
        "origin": info.origin.rank,
        "distribution": info.origin.distribution,
        "version": info.origin.version,
        "module": info.origin.module,
        "provides": {kind: names for kind, names in provided.items() if names},
        "overrides": overrides_of(get_plugin_manager().registry, info),
        "failure": None if failure is None else {"stage": failure.stage, "reason": quoted(failure.error)},
    }


def _override_line(plugin: str, override: dict[str, str]) -> str:
    return f"{plugin}: {override['kind']} {override['name']} replaces {override['replaces']}"


def _distribution(record: dict[str, Any]) -> str:
    return f"{record['distribution']} {record['version']}".strip()


def _counts(record: dict[str, Any]) -> str:
    return ", ".join(f"{len(names)} {_plural(kind, len(names))}" for kind, names in record["provides"].items())


def _plural(kind: str, count: int) -> str:
    return kind_label(kind) if count == 1 else f"{kind_label(kind)}s"


def _failure(record: dict[str, Any]) -> str:
    plugin = f"{record['name']} ({_distribution(record)}, {record['module'] or 'no module'})"
    return f"{plugin} failed at {record['failure']['stage']}: {record['failure']['reason']}"


def _print_health(records: list[dict[str, Any]], notes: list[str]) -> None:
    rows: list[list[str]] = []
    for record in records:
        status = record["status"] if record["status"] != "ok" or not record["broken"] else "broken"
        rows.append([status, f"{record['name']}: {_counts(record) or 'nothing'}"])
        rows += [["", _fault_line(record["name"], fault)] for fault in record["broken"]]
        notes += [_fault_line(record["name"], fault) for fault in record["notes"]]
    echo(table([*rows, *(["note", line] for line in notes)], wraps=True, first=STATUS_WIDTH))


def _fault_line(plugin: str, fault: dict[str, Any]) -> str:
    """Return one line with the plugin, the kind and name of the record, the reason and the fix."""
    record = "" if fault["kind"] == "plugin" else f" {_plural(fault['kind'], 1)} {fault['name']!r}:"
    return " ".join(f"{plugin}:{record} {fault['reason']}; fix: {fault['fix']}".split())
