"""Components: the records that a model is served by, each with its plugin, and which of them replace built-in ones."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millpond.plugin.registry import Entry
from millpond.plugin.specs import TaskSpec
from millpond.types.config import JOINED_BY
from millpond.types.errors import UnknownNameError

if TYPE_CHECKING:
    from millpond.loading.resolution import Resolution
    from millpond.plugin.registry import Catalog, Registry

PLUGIN_TASK = "plugin"


@dataclass(frozen=True)
class Component:
    """A record that a model is served by.

    Attributes:
        entry: The record and its plugin.
        replaces: The built-in record that the same name would mean without the plugin; None if there is none, or if the
            plugin was named explicitly.
    """

    entry: Entry[Any]
    replaces: Entry[Any] | None = None


def component(registry: "Registry", name: str, entry: Entry[Any]) -> Component:
    """The component that a name leads to.

    Args:
        registry: The records of all plugins.
        name: The name as it was asked for, bare or qualified.
        entry: The record that it means.
    """
    if name == entry.qualified:
        return Component(entry)
    replaced = registry.catalog(entry.spec.kind).overridden(entry)
    return Component(entry, next((other for other in replaced if other.origin.rank == "builtin"), None))


def components(registry: "Registry", resolution: "Resolution") -> list[Component]:
    """The source, formats, architecture, converter, tasks, poolers, IO processors and modules of a model.

    It need not be loaded.
    """
    found = [component(registry, name, entry) for name, entry in _named(registry, resolution)]
    return list({(it.entry.spec.kind, it.entry.qualified): it for it in found}.values())


def replaced_by_installed(used: Iterable[Component]) -> list[str]:
    """One line for each built-in record that an installed plugin replaces."""
    return [
        f"{it.entry.label} replaces the built-in {it.replaces.qualified}"
        for it in used
        if it.replaces is not None and it.entry.origin.rank == "installed"
    ]


def _named(registry: "Registry", resolution: "Resolution") -> Iterator[tuple[str, Entry[Any]]]:
    yield from _found(registry.sources, [resolution.repository.source])
    yield from ((entry.spec.name, entry) for entry, _ in resolution.repository.readings)
    yield resolution.architecture.spec.name, resolution.architecture
    if resolution.converter is not None:
        yield resolution.converter.spec.name, resolution.converter
    for task, record in _found(registry.tasks, _tasks(registry, resolution)):
        if task in resolution.tasks:
            yield task, record
        if not record.spec.derived_from and task != PLUGIN_TASK:
            yield from _found(registry.poolers, _poolers(resolution, record.spec))
        named = resolution.io_processor_plugin if task == PLUGIN_TASK else None
        yield from _found(registry.io_processors, [named or record.spec.io_processor])
    modules = resolution.facts.modules
    yield from _found(registry.modules, [module.type for module in (*modules.before, *modules.after)])


def _found(catalog: "Catalog[Any]", names: Iterable[str]) -> Iterator[tuple[str, Entry[Any]]]:
    """The records of these names; a name that is unknown or ambiguous is an error where it is used, not here."""
    for name in names:
        with suppress(UnknownNameError):
            yield name, catalog.get(name)


def _tasks(registry: "Registry", resolution: "Resolution") -> list[str]:
    """The tasks of a model, those that are derived from them, and "plugin" where an IO processor is named for it."""
    own = set(resolution.tasks)
    derived = [
        it.spec.name for it in registry.tasks.entries() if it.spec.name not in own and own & set(it.spec.derived_from)
    ]
    return [*resolution.tasks, *derived, *([PLUGIN_TASK] if resolution.io_processor_plugin else [])]


def _poolers(resolution: "Resolution", task: TaskSpec) -> list[str]:
    choice = resolution.pooler.get("tok_pooling_type" if task.per_token else "seq_pooling_type")
    name: str = task.default_pooling if choice is None else choice.value
    return name.split(JOINED_BY)
