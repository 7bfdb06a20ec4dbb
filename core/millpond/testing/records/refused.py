"""Checks of a plugin that cannot be loaded: all its faults, although loading stops at the first one."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

import pluggy

from millpond.plugin import specs
from millpond.plugin.discovery import candidates
from millpond.plugin.hookspecs import HOOKS, HOOKSPECS, PROJECT
from millpond.plugin.manager import MAX_RECORDS, PluginInfo, PluginManager, is_record
from millpond.plugin.registry import Entry, Registry, kind_label
from millpond.plugin.specs import Spec
from millpond.testing.records.common import Fault
from millpond.types.errors import quoted

UNKNOWN_FIELD: Final = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")


def faults_of_refused(info: PluginInfo) -> tuple[list[Fault], list[Spec]]:
    """Return the faults of a rejected plugin's hooks, and the valid records that the hooks yield."""
    plugin = _imported(info)
    if plugin is None:
        return [], []
    faults: list[Fault] = []
    records: list[Spec] = []
    for hook, function in _hooks(plugin, faults):
        records += _records(hook, function, faults)
    for (kind, name), count in Counter((spec.kind, spec.name) for spec in records).items():
        if count > 1:
            faults.append(
                Fault(f"it registers the {kind_label(kind)} {name!r} {count} times", "give each a unique name")
            )
    return faults, records


def with_records(manager: PluginManager, info: PluginInfo, records: list[Spec]) -> tuple[Registry, list[Entry[Any]]]:
    """Return a registry of all loaded records and these records, and the entries of these records."""
    registry = Registry()
    for catalog in manager.registry.catalogs():
        for entry in catalog.entries(overridden=True):
            registry.register(entry.spec, entry.origin)
    return registry, [registry.register(spec, info.origin) for spec in records]


def _imported(info: PluginInfo) -> object | None:
    """The plugin, if it can be imported."""
    candidate = next((it for it in candidates() if it.origin == info.origin), None)
    if candidate is None or info.failure is None or info.failure.stage == "import":
        return None
    return candidate.load()


def _hooks(plugin: object, faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    """The valid hooks, with their functions; the others are added to the faults."""
    markers = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options: Any = markers.parse_hookimpl_opts(plugin, name)
        hook = name if options is None else options.get("specname") or name
        close = get_close_matches(hook, HOOKS, n=1)
        if options is None:
            if hook in HOOKS and getattr(plugin, name) is not HOOKSPECS[hook]:
                faults.append(Fault(f"{name} lacks @hookimpl", f"write @hookimpl above def {name}"))
        elif hook not in HOOKS:
            faults.append(Fault(f"unknown hook {hook!r}", f"write {close[0] if close else ' or '.join(HOOKS)}"))
        elif options.get("wrapper") or options.get("hookwrapper"):
            faults.append(Fault(f"{name} wraps a hook", "write it without wrapper=True"))
        elif inspect.signature(getattr(plugin, name)).parameters:
            faults.append(Fault(f"{name} takes arguments", f"write def {name}()"))
        else:
            yield hook, getattr(plugin, name)


def _records(hook: str, function: Any, faults: list[Fault]) -> list[Spec]:
    """The records that a hook yields before it fails."""
    kind, records = HOOKS[hook], list[Spec]()
    try:
        returned = function()
        if returned is None or isinstance(returned, Spec | str):
            faults.append(Fault(f"{hook} returned {returned!r:.80}", f"yield {kind.__name__} records"))
            return []
        for value in islice(returned, MAX_RECORDS):
            if not is_record(value, kind):
                faults.append(Fault(f"{hook} yields {value!r:.80}", f"yield {kind.__name__} records"))
            elif not isinstance(value.name, str) or not value.name.strip():
                faults.append(Fault(f"{hook} yields a record with the name {value.name!r}", "pass a non-empty text"))
            else:
                records.append(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything
        faults.append(Fault(f"{hook} raised {quoted(error)}", _fix(error)))
    return records


def _fix(error: BaseException) -> str:
    """Return the fix of an exception that a hook raised; for an unknown field, it names the fields of the record."""
    unknown = UNKNOWN_FIELD.match(quoted(error).partition(": ")[2])
    record: Any = None if unknown is None else getattr(specs, unknown[1], None)
    if unknown is None or not is_dataclass(record):
        return "correct the hook"
    names = [it.name for it in fields(record)]
    close = get_close_matches(unknown[2], names, n=1)
    return f"write {close[0]}" if close else f"use the fields of {unknown[1]}: {', '.join(names)}"
