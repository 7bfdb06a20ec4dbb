"""The components of a model in the report of ``millpond inspect``, each with the plugin that provides it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from millpond.loading.components import Component, component, components
from millpond.model.model_layers import ModelLayers
from millpond.plugin.registry import Registry
from millpond.types.errors import UnknownNameError


def component_records(
    registry: Registry,
    layers: ModelLayers,
    tasks: Sequence[Mapping[str, Any]],
    dense: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the components of a model with their plugins.

    Args:
        registry: The registry of plugin records.
        layers: What is stated about the model.
        tasks: The tasks of the report, with their activations.
        dense: The Dense modules of the report.
    """
    names = [task["activation"] for task in tasks] + [layer["activation"].rpartition(".")[2].lower() for layer in dense]
    return [_record(it) for it in (*components(registry, layers), *_activations(registry, filter(None, names)))]


def plugin_lines(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each plugin, followed by a line for each component that it replaces."""
    by_plugin: dict[str, list[Mapping[str, Any]]] = {}
    for it in records:
        origin = it["plugin"] + (f" ({it['distribution']})" if it["distribution"] else "")
        by_plugin.setdefault(origin, []).append(it)
    for origin, provided in by_plugin.items():
        kinds: dict[str, list[str]] = {}
        for it in provided:
            kinds.setdefault(it["kind"], []).append(it["name"])
        parts = [f"{_label(kind)} {', '.join(names)}" for kind, names in kinds.items()]
        yield f"{origin}: {'; '.join(parts)}"
        for it in provided:
            if it["replaces"]:
                yield f"  {_label(it['kind'])} {it['name']} replaces {it['replaces']}"


def _activations(registry: Registry, names: Iterable[str]) -> Iterator[Component]:
    for name in dict.fromkeys(names):
        try:
            entry = registry.activations.get(name)
        except UnknownNameError:  # reported with the task or the module that names it
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
