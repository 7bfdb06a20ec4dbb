"""Checks of ``millpond plugins doctor``: faults of plugins, of their records, and of the targets of these."""

from collections.abc import Iterable, Iterator
from typing import Any

from millpond.plugin.manager import Failure, PluginInfo, PluginManager
from millpond.plugin.registry import Entry, Registry

FIXES = {
    "import": "correct the module, or install what it imports",
    "version": "update the plugin or Millpond",
    "hook": "correct the hook: see docs/hooks",
    "value": "yield records of the hook's kind",
    "register": "give each plugin and each record a name of its own",
}


def faults_of(manager: PluginManager, info: PluginInfo) -> list[dict[str, Any]]:
    """Return the faults of a plugin and its records: kind, name, target, reason, fix, and True for a mere note."""
    from millpond.testing.records import record_faults  # noqa: PLC0415  imports pydantic
    from millpond.testing.records.modules import module_faults  # noqa: PLC0415  as above

    if info.failure is not None:
        return _faults_of_refused(manager, info, info.failure)
    found = [_record("plugin", info.name, info.origin.module, fault) for fault in module_faults(manager, info)]
    for catalog in manager.registry.catalogs():
        for entry in catalog.entries(overridden=True):
            if entry.origin == info.origin:
                found += _records(entry, record_faults(manager.registry, entry))
    return found


def _faults_of_refused(manager: PluginManager, info: PluginInfo, failure: Failure) -> list[dict[str, Any]]:
    """Return the fault that kept a plugin from loading, and its others: loading stops at the first."""
    from millpond.testing.records import record_faults  # noqa: PLC0415  imports pydantic
    from millpond.testing.records.refused import faults_of_refused, with_records  # noqa: PLC0415  as above

    faults, specs = faults_of_refused(info)
    registry, entries = with_records(manager, info, specs)
    found = [_record("plugin", info.name, info.origin.module, fault) for fault in faults]
    for entry in entries:
        found += _records(entry, record_faults(registry, entry))
    return [_failure_record(failure), *found]


def _records(entry: Entry[Any], faults: Iterable[Any]) -> list[dict[str, Any]]:
    return [_record(entry.spec.kind, entry.spec.name, str(entry.spec.target), fault) for fault in faults]


def overrides_of(registry: Registry, info: PluginInfo) -> list[dict[str, str]]:
    """The records of other plugins that the same bare names would mean without a plugin."""
    return [
        {"kind": catalog.kind, "name": entry.spec.name, "replaces": other.qualified}
        for catalog in registry.catalogs()
        for entry in catalog.entries()
        if entry.origin == info.origin
        for other in catalog.overridden(entry)
    ]


def ambiguities(registry: Registry) -> list[str]:
    """The names that several plugins bring with equal right, each with the spellings that are not ambiguous."""
    found: list[str] = []
    for catalog in registry.catalogs():
        spellings: dict[str, list[str]] = {}
        for entry in catalog.entries():
            spellings.setdefault(entry.spec.name, []).append(entry.qualified)
        found += [
            f"{catalog.kind} {name!r} is brought by several plugins: say {' or '.join(ways)}"
            for name, ways in spellings.items()
            if len(ways) > 1
        ]
    return found


def override_notes(registry: Registry, info: PluginInfo) -> Iterator[str]:
    """One line for each record of another plugin that a plugin replaces."""
    for it in overrides_of(registry, info):
        yield f"{info.name}: {it['kind']} {it['name']} replaces {it['replaces']}, which stays as {it['replaces']!r}"


def _failure_record(failure: Failure) -> dict[str, Any]:
    return {
        "kind": "plugin",
        "name": failure.plugin,
        "target": "" if failure.origin is None else failure.origin.module,
        "reason": f"it failed at {failure.stage}: {type(failure.error).__name__}: {failure.error}",
        "fix": FIXES[failure.stage],
        "note": False,
    }


def _record(kind: str, name: str, target: str, fault: Any) -> dict[str, Any]:
    reason, fix = fault.reason, fault.fix
    return {"kind": kind, "name": name, "target": target, "reason": reason, "fix": fix, "note": fault.is_note}
