"""What ``millpond plugins doctor`` looks at: whether everything that a plugin names can be imported."""

from pkgutil import resolve_name
from typing import Any

import typer

from millpond.errors import UnknownNameError
from millpond.plugins import PluginInfo
from millpond.registry import Entry, Registry
from millpond.specs import ArchitectureSpec, CommandSpec, KernelSpec, RouteSpec


def check_targets(registry: Registry, info: PluginInfo) -> list[dict[str, str]]:
    """What a plugin names that does not work, each with the reason."""
    own = [
        entry
        for catalog in registry.catalogs()
        for entry in catalog.entries(overridden=True)
        if entry.origin == info.origin
    ]
    faults = ((entry, _fault(entry)) for entry in own)
    return [
        {"kind": entry.spec.kind, "name": entry.spec.name, "target": str(entry.spec.target), "reason": fault}
        for entry, fault in faults
        if fault
    ]


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


def _fault(entry: Entry[Any]) -> str:
    """Why an entry does not work; empty if it does."""
    try:
        target = entry.load()
    except UnknownNameError as error:
        cause = error.__cause__
        return f"{entry.spec.target!r} raised {type(cause).__name__}: {cause}"
    if isinstance(entry.spec, CommandSpec) and not isinstance(target, typer.Typer):
        return f"{entry.spec.target!r} is {target!r}, and no typer.Typer"
    return next(filter(None, map(_import_fault, _beside(entry))), "")


def _beside(entry: Entry[Any]) -> list[str]:
    """What a record names besides its target."""
    spec = entry.spec
    named: list[str | None] = []
    if isinstance(spec, ArchitectureSpec):
        named = [spec.describe, spec.image_reader]
    elif isinstance(spec, KernelSpec):
        named = [spec.available]
    elif isinstance(spec, RouteSpec):
        named = [spec.request, spec.response]
    return [name for name in named if name is not None]


def _import_fault(target: str) -> str:
    try:
        resolve_name(target)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's import may raise anything
        return f"{target!r} raised {type(error).__name__}: {error}"
    return ""
