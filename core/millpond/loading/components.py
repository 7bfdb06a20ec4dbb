"""Components: the records that a model uses, each with its plugin and the built-in record that it replaces."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millpond.model.pooler_settings import task_pooling
from millpond.plugin.registry import Entry
from millpond.types.config import JOINED_BY
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel
    from millpond.model.model_layers import ModelLayers
    from millpond.plugin.registry import Catalog, Registry

PLUGIN_TASK = "plugin"
RUNTIME = "runtime"
NOT_COMPUTING = ("source", "io_processor")


@dataclass(frozen=True)
class Component:
    """A record that a model uses.

    Attributes:
        entry: The record and its plugin.
        replaces: The built-in record of the same name that would be used without the plugin; None if no built-in
            record has this name, or if the plugin was named explicitly.
    """

    entry: Entry[Any]
    replaces: Entry[Any] | None = None


def component(registry: "Registry", name: str, entry: Entry[Any]) -> Component:
    """Return the component for a name.

    Args:
        registry: The records of all plugins.
        name: The requested name, bare or qualified.
        entry: The record that the name resolved to.
    """
    if entry.origin.rank == "builtin" or name == entry.qualified:
        return Component(entry)
    replaced = registry.catalog(entry.spec.kind).overridden(entry)
    return Component(entry, next((other for other in replaced if other.origin.rank == "builtin"), None))


def components(registry: "Registry", layers: "ModelLayers") -> list[Component]:
    """Return the source, formats, architecture, converter, tasks, poolers, IO processors and modules of a model.

    The model does not have to be loaded.
    """
    listed = [component(registry, name, entry) for name, entry in _named(registry, layers)]
    return list({(it.entry.spec.kind, it.entry.qualified): it for it in listed}.values())


def replaced_by_installed(used: Iterable[Component]) -> list[str]:
    """Describe each built-in record that an installed plugin replaces, in one line."""
    return [
        f"{it.entry.label} replaces the built-in {it.replaces.qualified}"
        for it in used
        if it.replaces is not None and it.entry.origin.rank == "installed"
    ]


def computing_entries(registry: "Registry", layers: "ModelLayers") -> list[Entry[Any]]:
    """Return the records that a process needs to compute batches of a model."""
    return [
        *(it.entry for it in components(registry, layers) if it.entry.spec.kind not in NOT_COMPUTING),
        *(entry for entry in registry.published_models.entries() if entry.spec is layers.published),
    ]


def used_entries(loaded: "LoadedModel") -> Iterator[Entry[Any]]:
    """Yield the records that compute batches of a loaded model, with its activations and kernels."""
    yield from computing_entries(loaded.context.registry, loaded.layers)
    for ctx in (loaded.context, *(ctx for _, ctx in loaded.context.routes.values())):
        yield from ctx.activations.values()
        yield from (match.entry for match in ctx.requested.chosen.values())


def runtime_refusal(entries: Iterable[Entry[Any]]) -> str | None:
    """Return the error message for components that other processes lack; None if all are installed.

    Other processes have the same built-in and installed plugins, but no records that this program registered.
    """
    names = list(dict.fromkeys(entry.label for entry in entries if entry.origin.rank == RUNTIME))
    if not names:
        return None
    plural = len(names) > 1
    return (
        f"{' and '.join(names)} {'were' if plural else 'was'} registered at run time and "
        f"{'do' if plural else 'does'} not exist in other processes. "
        "Put it into a package with an entry point of the group 'millpond', and install that."
    )


def _named(registry: "Registry", layers: "ModelLayers") -> Iterator[tuple[str, Entry[Any]]]:
    yield from _known(registry.sources, [layers.repository.source])
    yield from ((entry.spec.name, entry) for entry, _ in layers.repository.readings)
    yield layers.architecture.spec.name, layers.architecture
    if layers.converter is not None:
        yield layers.converter.spec.name, layers.converter
    for task, record in _known(registry.tasks, _tasks(registry, layers)):
        if task in layers.tasks:
            yield task, record
        if not record.spec.derived_from and task != PLUGIN_TASK:
            yield from _known(registry.poolers, task_pooling(registry, layers, record.spec).split(JOINED_BY))
        named = layers.model.prompting.io_processor_plugin if task == PLUGIN_TASK else None
        yield from _known(registry.io_processors, [named or record.spec.io_processor])
    modules = layers.model.modules
    yield from _known(registry.modules, [module.type for module in (*modules.before, *modules.after)])


def _known(catalog: "Catalog[Any]", names: Iterable[str]) -> Iterator[tuple[str, Entry[Any]]]:
    """Yield the records of these names; unknown and ambiguous names are skipped, since their use reports them."""
    for name in names:
        with suppress(UnknownNameError):
            yield name, catalog.get(name)


def _tasks(registry: "Registry", layers: "ModelLayers") -> list[str]:
    """The tasks of a model, the tasks derived from them, and "plugin" if an IO processor plugin is configured."""
    tasks = set(layers.tasks)
    derived = [
        it.spec.name
        for it in registry.tasks.entries()
        if it.spec.name not in tasks and tasks & set(it.spec.derived_from)
    ]
    return [*layers.tasks, *derived, *([PLUGIN_TASK] if layers.model.prompting.io_processor_plugin else [])]
