"""``millpond plugins``: what is installed, whether all of it works, and which kernels are chosen."""

import json
from typing import Annotated, Any

import typer

from millpond.plugin.manager import PluginInfo, get_plugin_manager
from millpond_cli import options
from millpond_cli.inspect.doctor import ambiguities, faults_of, override_notes, overrides_of
from millpond_cli.io.tables import table
from millpond_command import declare
from millpond_command.cli import FAILURE, echo, printable
from millpond_command.model_arguments import warn_renamed
from millpond_command.model_options import BatchInvariant, Deterministic, Quantization

HEALTH_WIDTH = 8  # columns

app = declare.new_app()

ForDevice = Annotated[str, typer.Option("--device", metavar="DEVICE", help="The device to choose for: cpu, cuda ...")]
ForDtype = Annotated[
    str, typer.Option("--dtype", metavar="DTYPE", help="The dtype to choose for: float32, bfloat16 ...")
]
ForNeeds = Annotated[
    list[str] | None,
    typer.Option(
        "--needs",
        metavar="NAME",
        help="A feature that the kernel must have, such as softcap. Repeatable.",
    ),
]


@app.callback()
def plugins() -> None:
    """List and check plugins and kernels."""


@declare.command(app, "list", short_help="List the plugins and what they bring.")
def list_plugins(*, as_json: options.AsJson = False) -> None:
    """List the plugins: where each came from, whether it is loaded, what it brings, what it overrides.

    A plugin that failed is listed with the stage at which it did, and why. Nothing that plugins name is imported.
    """
    records = [_record(info) for info in get_plugin_manager().plugins()]
    if as_json:
        echo(json.dumps(records, indent=2))
        return
    rows = [[it["name"], it["status"], it["origin"], _distribution(it), _brought(it)] for it in records]
    echo(table([["PLUGIN", "STATUS", "ORIGIN", "DISTRIBUTION", "BRINGS"], *rows]))
    overrides = [_override_line(record["name"], it) for record in records for it in record["overrides"]]
    if overrides:
        echo(printable("\n".join(["", "OVERRIDES", *overrides])))
    for record in records:
        if record["failure"] is not None:
            echo(f"\n{printable(_failure(record))}")


@declare.command(app, short_help="Check plugins, their records and what these name.")
def doctor(*, as_json: options.AsJson = False) -> None:
    """Check plugins, their records and what these name; say what is wrong and how to fix it.

    Looks at all that can be checked without a model: fields, names, targets, signatures, and results of poolers and
    activations on random values. Exits with 1 if something is wrong; overrides, ambiguous names and notes are listed
    and leave the exit code 0.
    """
    manager = get_plugin_manager()
    records = [_record(info) for info in manager.plugins()]
    for record, info in zip(records, manager.plugins(), strict=True):
        found = faults_of(manager, info)
        record["broken"] = [fault for fault in found if not fault["note"]]
        record["notes"] = [fault for fault in found if fault["note"] and info.origin.rank != "builtin"]
    ambiguous = ambiguities(manager.registry)
    healthy = not any(record["failure"] or record["broken"] for record in records)
    if as_json:
        echo(json.dumps({"healthy": healthy, "plugins": records, "ambiguous": ambiguous}, indent=2))
    else:
        overrides = [line for info in manager.plugins() for line in override_notes(manager.registry, info)]
        _tell_health(records, [*overrides, *ambiguous])
    raise typer.Exit(0 if healthy else FAILURE)


@declare.command(app, short_help="List the kernels and which are chosen.")
def kernels(
    *,
    device: ForDevice = "cpu",
    dtype: ForDtype = "float32",
    quantization: Quantization = None,
    batch_invariant: BatchInvariant = False,
    deterministic: Deterministic = False,
    needs: ForNeeds = None,
    as_json: options.AsJson = False,
) -> None:
    """List the implementations of every op, which of them is chosen, and why the others are not."""
    from millpond_cli.inspect.kernels import kernel_records  # noqa: PLC0415  needs torch

    if deterministic:
        warn_renamed("deterministic")
    records = kernel_records(
        get_plugin_manager().registry,
        device,
        dtype,
        quantization=quantization,
        batch_invariant=batch_invariant or deterministic,
        required_features=needs or (),
    )
    if as_json:
        echo(json.dumps(records, indent=2))
        return
    marks = [("chosen" if it["chosen"] else "fits" if it["fits"] else "no") for it in records]
    rows = [[it["name"], mark, it["plugin"], it["reason"]] for it, mark in zip(records, marks, strict=True)]
    echo(table([["KERNEL", "HERE", "PLUGIN", "WHY"], *rows]))


def _record(info: PluginInfo) -> dict[str, Any]:
    catalogs = get_plugin_manager().registry.catalogs()
    own = {
        catalog.kind: [it.spec.name for it in catalog.entries(overridden=True) if it.origin == info.origin]
        for catalog in catalogs
    }
    failure = info.failure
    return {
        "name": info.name,
        "status": info.status,
        "origin": info.origin.rank,
        "distribution": info.origin.distribution,
        "version": info.version,
        "module": info.origin.module,
        "brings": {kind: names for kind, names in own.items() if names},
        "overrides": overrides_of(get_plugin_manager().registry, info),
        "failure": None
        if failure is None
        else {"stage": failure.stage, "reason": f"{type(failure.error).__name__}: {failure.error}"},
    }


def _override_line(plugin: str, override: dict[str, str]) -> str:
    return f"{plugin}: {override['kind']} {override['name']} replaces {override['replaces']}"


def _distribution(record: dict[str, Any]) -> str:
    return f"{record['distribution']} {record['version']}".strip()


def _brought(record: dict[str, Any]) -> str:
    return ", ".join(f"{len(names)} {_plural(kind, len(names))}" for kind, names in record["brings"].items())


def _plural(kind: str, count: int) -> str:
    label = kind.replace("io_", "IO ").replace("_", " ")
    return label if count == 1 else f"{label}s"


def _failure(record: dict[str, Any]) -> str:
    where = f"{record['name']} ({_distribution(record)}, {record['module'] or 'no module'})"
    return f"{where} failed at {record['failure']['stage']}: {record['failure']['reason']}"


def _tell_health(records: list[dict[str, Any]], notes: list[str]) -> None:
    rows: list[list[str]] = []
    for record in records:
        health = record["status"] if record["status"] != "ok" or not record["broken"] else "broken"
        rows.append([health, f"{record['name']}: {_brought(record) or 'nothing'}"])
        rows += [["", _fault_line(record["name"], fault)] for fault in record["broken"]]
        notes += [_fault_line(record["name"], fault) for fault in record["notes"]]
    echo(table([*rows, *(["note", line] for line in notes)], wraps=True, first=HEALTH_WIDTH))


def _fault_line(plugin: str, fault: dict[str, Any]) -> str:
    """Plugin, kind, name, what is wrong, and the fix, in one line."""
    what = "" if fault["kind"] == "plugin" else f" {_plural(fault['kind'], 1)} {fault['name']!r}:"
    return " ".join(f"{plugin}:{what} {fault['reason']}; fix: {fault['fix']}".split())
