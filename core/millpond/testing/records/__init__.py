"""Checks of records that need no model: fields, what they name, and whether the target is what its kind asks for.

``millpond plugins doctor`` and the conformance classes share them. There is one checker for each kind; each yields
faults of the fields, and faults of the target once it is imported.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records import checkpoints, edges, models, published, results
from millpond.testing.records.common import Fault, common_faults
from millpond.types.errors import UnknownNameError

Check = Callable[[Registry, Entry[Any]], Iterator[Fault]]
TargetCheck = Callable[[Registry, Entry[Any], Any], Iterator[Fault]]

FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "task": results.task_fields,
        "architecture": models.architecture_fields,
        "published_model": published.published_fields,
        "fallback": models.fallback_fields,
        "converter": models.converter_fields,
        "pooler": results.pooler_fields,
        "activation": results.activation_fields,
        "io_processor": results.io_processor_fields,
        "kernel": edges.kernel_fields,
        "source": edges.source_fields,
        "command": edges.command_fields,
        "route": edges.route_fields,
        "checkpoint_format": checkpoints.format_fields,
        "module": checkpoints.module_fields,
    }
)
TARGETS: Mapping[str, TargetCheck] = MappingProxyType(
    {
        "task": results.task_target,
        "architecture": models.architecture_target,
        "fallback": models.fallback_target,
        "converter": models.converter_target,
        "pooler": results.pooler_target,
        "activation": results.activation_target,
        "io_processor": results.io_processor_target,
        "kernel": edges.kernel_target,
        "source": edges.source_target,
        "command": edges.command_target,
        "route": edges.route_target,
        "checkpoint_format": checkpoints.format_target,
        "module": checkpoints.module_target,
    }
)


def field_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """The faults of a record's fields; those that depend on valid types are looked for only where types are valid."""
    found = list(common_faults(entry))
    if any(not fault.is_note for fault in found):
        return found
    return [*found, *FIELDS[entry.spec.kind](registry, entry)]


def target_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """The faults of what a record's target names, which is imported; a record without a target has none."""
    if entry.spec.kind not in TARGETS:
        return []
    try:
        target = entry.load()
    except UnknownNameError as error:
        cause = error.__cause__
        raised = f"raised {type(cause).__name__}: {cause}" if cause is not None else "is None"
        return [Fault(f"{entry.spec.target!r} {raised}", "correct the target, or install what it imports")]
    return list(TARGETS[entry.spec.kind](registry, entry, target))


def record_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """All faults of a record that can be found without a model."""
    return [*field_faults(registry, entry), *target_faults(registry, entry)]
