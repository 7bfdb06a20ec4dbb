"""The plugins behind a model, as ``millpond inspect`` shows them: one record for each component, with its plugin."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from millpond.loading.components import Component, component, components
from millpond.loading.resolution import Resolution
from millpond.plugin.registry import Registry
from millpond.types.errors import UnknownNameError


def component_records(
    registry: Registry,
    resolution: Resolution,
    tasks: Sequence[Mapping[str, Any]],
    dense: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The components of a model with their plugins.

    Args:
        registry: The records of all plugins.
        resolution: The resolved model.
        tasks: Its tasks as they are reported, with their activations.
        dense: Its Dense modules as they are reported.
    """
    names = [task["activation"] for task in tasks] + [layer["activation"].rpartition(".")[2].lower() for layer in dense]
    found = [*components(registry, resolution), *_activations(registry, filter(None, names))]
    return [_record(it) for it in found]


def lines_of(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each plugin, and one more for each built-in component that it replaces."""
    by_plugin: dict[str, list[Mapping[str, Any]]] = {}
    for it in records:
        origin = it["plugin"] + (f" ({it['distribution']})" if it["distribution"] else "")
        by_plugin.setdefault(origin, []).append(it)
    for origin, own in by_plugin.items():
        kinds: dict[str, list[str]] = {}
        for it in own:
            kinds.setdefault(it["kind"], []).append(it["name"])
        parts = [f"{_label(kind)} {', '.join(names)}" for kind, names in kinds.items()]
        yield f"{origin}: {'; '.join(parts)}"
        yield from (f"  {_label(it['kind'])} {it['name']} replaces {it['replaces']}" for it in own if it["replaces"])


def _activations(registry: Registry, names: Iterable[str]) -> Iterator[Component]:
    for name in dict.fromkeys(names):
        try:
            entry = registry.activations.get(name)
        except UnknownNameError:  # the problem is reported with the task or the module that names it
            continue
        yield component(registry, name, entry)


def _record(it: Component) -> dict[str, Any]:
    origin = it.entry.origin
    return {
        "kind": it.entry.spec.kind,
        "name": it.entry.spec.name,
        "plugin": origin.plugin,
        "distribution": f"{origin.distribution} {origin.version}".strip() or None,
        "replaces": None if it.replaces is None else it.replaces.qualified,
    }


def _label(kind: str) -> str:
    return kind.replace("io_", "IO ").replace("_", " ")
