"""Components: the records that a model uses, and the built-in records that installed plugins replace."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from millpond.model.pooler_settings import task_pooling
from millpond.types.config import JOINED_BY
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel
    from millpond.model.model_layers import ModelLayers
    from millpond.plugin.registry import Catalog, Entry, Registry

PLUGIN_TASK = "plugin"
RUNTIME = "runtime"
NOT_COMPUTING = ("source", "io_processor", "text_step")
Named = tuple[str, "Entry[Any]"]  # a requested name, bare or qualified, and the record that it resolved to


def components(layers: "ModelLayers") -> list[Named]:
    """Return the source, formats, architecture, converter, tasks, poolers, IO processors and modules of a model.

    The model does not have to be loaded.

    Returns:
        The requested name and the record of each component.
    """
    return list({(entry.spec.kind, entry.qualified): (name, entry) for name, entry in _named(layers)}.values())


def replaced(registry: "Registry", name: str, entry: "Entry[Any]") -> "Entry[Any] | None":
    """Return the built-in record that a name would refer to without the plugin of a record.

    Returns:
        None if no built-in record has this name, or if the name is qualified.
    """
    if entry.origin.rank == "builtin" or name == entry.qualified:
        return None
    others = registry.catalog(entry.spec.kind).overridden(entry)
    return next((other for other in others if other.origin.rank == "builtin"), None)


def replaced_by_installed(layers: "ModelLayers", activations: "Mapping[str, Entry[Any]]") -> list[str]:
    """Describe each built-in component of a model that an installed plugin replaces, in one line.

    Args:
        layers: What is stated about the model.
        activations: Its activations, by requested name.
    """
    if "installed" not in layers.registry.ranks:
        return []
    return [
        f"{entry.label} replaces the built-in {builtin.qualified}"
        for name, entry in (*components(layers), *activations.items())
        if entry.origin.rank == "installed" and (builtin := replaced(layers.registry, name, entry)) is not None
    ]


def computing_entries(layers: "ModelLayers") -> "list[Entry[Any]]":
    """Return the records that a process needs to compute batches of a model."""
    return [
        *(entry for _, entry in components(layers) if entry.spec.kind not in NOT_COMPUTING),
        *(entry for entry in layers.registry.published_models.entries() if entry.spec is layers.published),
    ]


def used_entries(loaded: "LoadedModel") -> "Iterator[Entry[Any]]":
    """Yield the records that compute batches of a loaded model, with its activations and kernels."""
    yield from computing_entries(loaded.layers)
    for ctx in (loaded.context, *(ctx for _, ctx in loaded.context.routes.values())):
        yield from ctx.requested.activations.values()
        yield from (match.entry for match in ctx.requested.chosen.values())


def runtime_refusal(entries: "Iterable[Entry[Any]]") -> str | None:
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


def _named(layers: "ModelLayers") -> Iterator[Named]:
    registry = layers.registry
    yield from _known(registry.sources, [layers.repository.source])
    yield from ((entry.spec.name, entry) for entry, _ in layers.repository.readings)
    yield layers.architecture.spec.name, layers.architecture
    if layers.converter is not None:
        yield layers.converter.spec.name, layers.converter
    for task, record in _known(registry.tasks, _tasks(layers)):
        if task in layers.tasks:
            yield task, record
        if not record.spec.derived_from and task != PLUGIN_TASK:
            yield from _known(registry.poolers, task_pooling(registry, layers, record.spec).split(JOINED_BY))
        named = layers.model.prompting.io_processor_plugin if task == PLUGIN_TASK else None
        yield from _known(registry.io_processors, [named or record.spec.io_processor])
    if layers.model.text.steps:
        yield from _known(registry.catalog("text_step"), layers.model.text.steps)
    modules = layers.model.modules
    yield from _known(registry.modules, [module.type for module in (*modules.before, *modules.after)])


def _known(catalog: "Catalog[Any]", names: Iterable[str]) -> Iterator[Named]:
    """Yield the records of these names; unknown and ambiguous names are skipped, since their use reports them."""
    for name in names:
        with suppress(UnknownNameError):
            yield name, catalog.get(name)


def _tasks(layers: "ModelLayers") -> list[str]:
    """The tasks of a model, the tasks derived from them, and "plugin" if an IO processor plugin is configured."""
    tasks = set(layers.tasks)
    specs = [entry.spec for entry in layers.registry.tasks.entries()]
    derived = [spec.name for spec in specs if spec.name not in tasks and tasks & set(spec.derived_from)]
    return [*layers.tasks, *derived, *([PLUGIN_TASK] if layers.model.prompting.io_processor_plugin else [])]
