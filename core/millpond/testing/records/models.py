"""Checks of architectures and converters."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, FallbackSpec
from millpond.testing.records.common import (
    Fault,
    async_faults,
    class_faults,
    named,
    overrides,
    pooling_faults,
    signature_faults,
    unknown,
    unknown_tasks,
)
from millpond.types.config import PoolerConfig
from millpond.types.errors import InvalidInputError
from millpond.types.params import validated

POSITIONS = ("absolute", "absolute_after_pad", "relative")
MODALITY = re.compile(r"[a-z][a-z0-9_]*")
COMMON_MODALITIES = ("text", "image", "features")
WEIGHTED_TASK = "token_classify"
IMAGE_READER_MEMBERS = ("marked", "options", "placeholder", "read", "reserved_ids")
RESERVED_IMPLEMENTATIONS = ("auto", "native")


def architecture_fields(registry: Registry, entry: Entry[ArchitectureSpec]) -> Iterator[Fault]:
    """Check tasks, modalities, positions, pooling, and the objects that the record names."""
    spec = entry.spec
    yield from unknown_tasks(registry, "tasks", spec.tasks)
    if spec.text.positions not in POSITIONS:
        yield Fault(f"text.positions={spec.text.positions!r} is unknown", f"use one of {', '.join(POSITIONS)}")
    if not spec.modalities:
        yield Fault("modalities are empty", "list them: modalities=('text',)")
    for name in spec.modalities:
        yield from _modality_faults(name)
    if spec.extras.image_processor is not None and "image" not in spec.modalities:
        yield Fault(
            f"extras.image_processor={spec.extras.image_processor!r}, but modalities lack 'image'",
            "add 'image' to modalities",
        )
    output = spec.output
    if output.num_labels is not None and output.num_labels < 1:
        yield Fault(f"output.num_labels={output.num_labels} is not a number of classes", "use None, or a number from 1")
    if output.token_weights and WEIGHTED_TASK not in spec.tasks:
        yield Fault(
            f"output.token_weights needs the task {WEIGHTED_TASK!r}, which tasks lack",
            f"add {WEIGHTED_TASK!r} to tasks",
        )
    if output.activation is not None and output.activation not in registry.activations:
        yield unknown("output.activation", output.activation, registry.activations.names())
    yield from _pooling_faults(registry, spec)
    yield from _named_faults(spec)


def architecture_target(registry: Registry, entry: Entry[ArchitectureSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a PoolingModel that implements forward."""
    del registry, entry
    from millpond.nn import PoolingModel  # noqa: PLC0415  needs torch

    faults = class_faults(target, PoolingModel, "millpond.nn.PoolingModel")
    if faults:
        yield from faults
        return
    if not overrides(target, PoolingModel, "forward"):
        yield Fault("its target does not implement forward", "implement forward(batch): [num_tokens, hidden]")
    yield from async_faults(target, "forward", "load_weights")
    yield from signature_faults("forward", target.forward, ("self", "batch"))
    yield from signature_faults("load_weights", target.load_weights, ("self", "weights"))
    yield from _weight_name_faults(target)


def fallback_fields(registry: Registry, entry: Entry[FallbackSpec]) -> Iterator[Fault]:
    """Check patterns, implementation and tasks."""
    spec = entry.spec
    yield from unknown_tasks(registry, "tasks", spec.tasks)
    if not spec.patterns:
        yield Fault("patterns are empty: it matches no model", "list patterns: patterns=('*Model',)")
    if spec.implementation in RESERVED_IMPLEMENTATIONS:
        reserved = ", ".join(RESERVED_IMPLEMENTATIONS)
        yield Fault(f"implementation={spec.implementation!r} is reserved", f"use a name other than {reserved}")


def fallback_target(registry: Registry, entry: Entry[FallbackSpec], target: Any) -> Iterator[Fault]:
    """Check that the target takes the architecture name and the config."""
    del registry, entry
    yield from signature_faults("target", target, ("name", "config"))


def converter_fields(registry: Registry, entry: Entry[ConverterSpec]) -> Iterator[Fault]:
    """Check architectures, tasks and pooling types."""
    spec = entry.spec
    yield from unknown_tasks(registry, "tasks", spec.tasks)
    if not spec.tasks:
        yield Fault("the converted model has no tasks", "list its tasks: tasks=('embed',)")
    if not spec.architectures:
        reason = f"architectures are empty: only convert={spec.name!r} chooses it"
        yield Fault(reason, "list patterns if it should be chosen automatically", is_note=True)
    for name in filter(None, spec.pooling):
        yield from pooling_faults(registry, "pooling", name)


def converter_target(registry: Registry, entry: Entry[ConverterSpec], target: Any) -> Iterator[Fault]:
    """Check that the target takes a model class and the context."""
    del registry, entry
    yield from signature_faults("target", target, ("model_class", "ctx"))


def _modality_faults(name: str) -> Iterator[Fault]:
    """Any name is allowed; names that are probably misspelled are noted."""
    if not MODALITY.fullmatch(name):
        yield Fault(f"modalities names {name!r}", "write lower-case letters, digits and '_', such as 'series'")
    elif name not in COMMON_MODALITIES and (close := get_close_matches(name, COMMON_MODALITIES, n=1)):
        yield Fault(f"modalities names {name!r}", f"write {close[0]!r} if you mean that", is_note=True)


def _pooling_faults(registry: Registry, spec: ArchitectureSpec) -> Iterator[Fault]:
    try:
        config = validated(PoolerConfig, spec.pooling.pooler_config(), parameter="pooling.settings")
    except InvalidInputError as error:
        yield Fault(str(error), "name fields of PoolerConfig")
        return
    yield from pooling_faults(registry, "pooling.type", spec.pooling.type)
    yield from pooling_faults(registry, "pooling.settings", config.seq_pooling_type)
    yield from pooling_faults(registry, "pooling.tok_type", config.tok_pooling_type)
    for field, name, per_token in (
        ("pooling.type", spec.pooling.type, False),
        ("seq_pooling_type", config.seq_pooling_type, False),
        ("pooling.tok_type", config.tok_pooling_type, True),
    ):
        if name is not None and _per_token(registry, name) == {not per_token}:
            unit = "token" if per_token else "prompt"
            yield Fault(f"{field}={name!r} does not return one result per {unit}", "name another pooling type")


def _per_token(registry: Registry, name: str) -> set[bool]:
    """The values of ``per_token`` of a pooling type's tasks; empty for an unknown pooling type."""
    tasks = [
        task for it in registry.poolers.entries() if name in (it.spec.name, it.qualified) for task in it.spec.tasks
    ]
    return {registry.tasks.get(task).spec.per_token for task in tasks if task in registry.tasks}


def _named_faults(spec: ArchitectureSpec) -> Iterator[Fault]:
    for field, target, arguments in (
        ("extras.late_interaction", spec.extras.late_interaction, ("layers",)),
        ("extras.tiny", spec.extras.tiny, ("architecture", "folder")),
    ):
        function, faults = named(field, target)
        yield from faults
        if function is not None:
            yield from signature_faults(field, function, arguments)
    reader, faults = named("extras.image_processor", spec.extras.image_processor)
    yield from faults
    if reader is not None:
        if isinstance(reader, type) and not all(hasattr(reader, name) for name in IMAGE_READER_MEMBERS):
            yield Fault(f"extras.image_processor {reader.__name__} is not an ImageReader", "inherit from it")
        elif isinstance(reader, type):
            yield from class_faults(reader, object, "millpond_modeling.images.ImageReader")
        else:
            yield from signature_faults("extras.image_processor", reader, ("ctx",))


def _weight_name_faults(target: Any) -> Iterator[Fault]:
    from millpond.nn import WeightTransform  # noqa: PLC0415  needs torch

    patterns = [*target.ignored_weights]
    for pair in target.weight_names:
        try:
            pattern, _ = pair
        except (TypeError, ValueError):
            yield Fault(f"weight_names contains {pair!r}", "list pairs: (pattern, parameter name)")
            return
        patterns.append(pattern)
    for transform in target.weight_transforms:
        if not isinstance(transform, WeightTransform):
            yield Fault(f"weight_transforms contains {transform!r:.80}", "list millpond.nn.WeightTransform objects")
            return
        patterns += transform.sources
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            yield Fault(f"the pattern {pattern!r} of its weights is invalid: {error}", "write a regular expression")
