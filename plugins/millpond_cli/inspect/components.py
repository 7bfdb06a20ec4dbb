"""The components of a model in the report of ``millpond inspect``, each with the plugin that provides it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from millpond.loading.components import Named, components, replaced
from millpond.model.model_layers import ModelLayers
from millpond.plugin.registry import Entry, Registry, kind_label
from millpond.types.errors import UnknownNameError


def component_records(
    layers: ModelLayers,
    tasks: Sequence[Mapping[str, Any]],
    dense: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the components of a model with their plugins.

    Args:
        layers: What is stated about the model.
        tasks: The tasks of the report, with their activations.
        dense: The Dense modules of the report.
    """
    names = [task["activation"] for task in tasks] + [layer["activation"].rpartition(".")[2].lower() for layer in dense]
    used = (*components(layers), *_activations(layers.registry, filter(None, names)))
    return [_record(layers.registry, name, entry) for name, entry in used]


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
        parts = [f"{kind_label(kind)} {', '.join(names)}" for kind, names in kinds.items()]
        yield f"{origin}: {'; '.join(parts)}"
        for it in provided:
            if it["replaces"]:
                yield f"  {kind_label(it['kind'])} {it['name']} replaces {it['replaces']}"


def _activations(registry: Registry, names: Iterable[str]) -> Iterator[Named]:
    for name in dict.fromkeys(names):
        try:
            entry = registry.activations.get(name)
        except UnknownNameError:  # reported with the task or the module that names it
            continue
        yield name, entry


def _record(registry: Registry, name: str, entry: Entry[Any]) -> dict[str, Any]:
    origin, builtin = entry.origin, replaced(registry, name, entry)
    return {
        "kind": entry.spec.kind,
        "name": entry.spec.name,
        "plugin": origin.plugin,
        "distribution": f"{origin.distribution} {origin.version}".strip() or None,
        "replaces": None if builtin is None else builtin.qualified,
    }
