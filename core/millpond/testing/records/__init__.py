"""Checks of records without a model: their fields, and the types and signatures of their targets.

``millpond plugins doctor`` and the conformance classes share them. The checks of each kind yield faults of the fields,
and faults of the imported target; the class of a kit's record names the module of its checks.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs.base import wrong_types
from millpond.testing.records import checkpoints, edges, models, published, results
from millpond.testing.records.common import Fault, common_faults
from millpond.types.errors import UnknownNameError, quoted

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
        "checkpoint_format": checkpoints.format_target,
        "module": checkpoints.module_target,
        "executor": edges.executor_target,
    }
)


def field_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """Return the faults of a record's fields; the other checks of fields run only if all types are valid."""
    faults = list(common_faults(entry))
    if any(not fault.is_note for fault in faults):
        return faults
    check = FIELDS.get(entry.spec.kind) or _check_of_kit(entry, "fields")
    return faults if check is None else [*faults, *check(registry, entry)]


def target_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """Import a record's target and return its faults; empty for records without a target."""
    check = TARGETS.get(entry.spec.kind) or _check_of_kit(entry, "target")
    if check is None:
        return []
    try:
        target = entry.load()
    except UnknownNameError as error:
        cause = error.__cause__
        raised = f"raised {quoted(cause)}" if cause is not None else "is None"
        return [Fault(f"{entry.spec.target!r} {raised}", "correct the target, or install what it imports")]
    return list(check(registry, entry, target))


def record_faults(registry: Registry, entry: Entry[Any]) -> list[Fault]:
    """Return all faults of a record that can be found without a model."""
    faults = field_faults(registry, entry)
    has_wrong_types = any(wrong_types(entry.spec, type(entry.spec)))  # which the checks of targets do not expect
    return faults if has_wrong_types else [*faults, *target_faults(registry, entry)]


def _check_of_kit(entry: Entry[Any], part: str) -> Callable[..., Iterator[Fault]] | None:
    """Return a function of the module that the record's class names in ``checks``, such as ``route_target``."""
    module = import_module(entry.spec.checks) if entry.spec.checks else None
    return getattr(module, f"{entry.spec.kind}_{part}", None)
