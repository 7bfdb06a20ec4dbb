"""Checks of ``millpond plugins doctor``: faults of plugins, of their records, and of the targets of records."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from millpond.plugin.manager import Failure, PluginInfo, PluginManager
from millpond.plugin.registry import Entry, Registry
from millpond.types.errors import quoted

FIXES = {
    "import": "correct the module, or install its dependencies",
    "version": "update the plugin or Millpond",
    "hook": "correct the hook; the documentation of Millpond has a page for each",
    "value": "yield records of the type that the hook requires",
    "register": "use a unique name for each plugin and each record",
}


def faults_of(manager: PluginManager, info: PluginInfo) -> list[dict[str, Any]]:
    """Return the faults of a plugin and of its records.

    A fault is a dict with the kind and name of the record, its target, the reason, the fix, and ``note``, which is True
    if it does not make the plugin unhealthy.
    """
    from millpond.testing.records import record_faults  # noqa: PLC0415  imports pydantic
    from millpond.testing.records.modules import module_faults  # noqa: PLC0415  as above

    if info.failure is not None:
        return _faults_of_failed(manager, info, info.failure)
    faults = [_record("plugin", info.name, info.origin.module, fault) for fault in module_faults(manager, info)]
    for catalog in manager.registry.catalogs():
        for entry in catalog.entries(overridden=True):
            if entry.origin == info.origin:
                faults += _records(entry, record_faults(manager.registry, entry))
    return faults


def _faults_of_failed(manager: PluginManager, info: PluginInfo, failure: Failure) -> list[dict[str, Any]]:
    """Return all faults of a plugin that failed to load; loading stops at the first one."""
    from millpond.testing.records import record_faults  # noqa: PLC0415  imports pydantic
    from millpond.testing.records.refused import faults_of_refused, with_records  # noqa: PLC0415  as above

    plugin_faults, specs = faults_of_refused(info)
    registry, entries = with_records(manager, info, specs)
    faults = [_record("plugin", info.name, info.origin.module, fault) for fault in plugin_faults]
    for entry in entries:
        faults += _records(entry, record_faults(registry, entry))
    return [_failure_record(failure), *faults]


def _records(entry: Entry[Any], faults: Iterable[Any]) -> list[dict[str, Any]]:
    return [_record(entry.spec.kind, entry.spec.name, str(entry.spec.target), fault) for fault in faults]


def overrides_of(registry: Registry, info: PluginInfo) -> list[dict[str, str]]:
    """Return the records of other plugins that this plugin overrides."""
    return [
        {"kind": catalog.kind, "name": entry.spec.name, "replaces": other.qualified}
        for catalog in registry.catalogs()
        for entry in catalog.entries()
        if entry.origin == info.origin
        for other in catalog.overridden(entry)
    ]


def ambiguities(registry: Registry, plugins: Collection[str]) -> list[str]:
    """Return a line for each name that several plugins provide with the same precedence, with its qualified names.

    Args:
        registry: The registry.
        plugins: The names of plugins. An ambiguity is included if one of them provides the name.
    """
    lines: list[str] = []
    for catalog in registry.catalogs():
        by_name: dict[str, list[Entry[Any]]] = {}
        for entry in catalog.entries():
            by_name.setdefault(entry.spec.name, []).append(entry)
        lines += [
            f"{catalog.kind} {name!r} is provided by several plugins: use {' or '.join(it.qualified for it in entries)}"
            for name, entries in by_name.items()
            if len(entries) > 1 and any(entry.origin.plugin in plugins for entry in entries)
        ]
    return lines


def override_notes(registry: Registry, info: PluginInfo) -> Iterator[str]:
    """Yield a line for each record of another plugin that this plugin overrides."""
    for it in overrides_of(registry, info):
        yield (
            f"{info.name}: {it['kind']} {it['name']} replaces {it['replaces']}, "
            f"which stays available as {it['replaces']!r}"
        )


def _failure_record(failure: Failure) -> dict[str, Any]:
    return {
        "kind": "plugin",
        "name": failure.origin.plugin,
        "target": "" if failure.origin is None else failure.origin.module,
        "reason": f"failed at {failure.stage}: {quoted(failure.error)}",
        "fix": FIXES[failure.stage],
        "note": False,
    }


def _record(kind: str, name: str, target: str, fault: Any) -> dict[str, Any]:
    reason, fix = fault.reason, fault.fix
    return {"kind": kind, "name": name, "target": target, "reason": reason, "fix": fix, "note": fault.is_note}
