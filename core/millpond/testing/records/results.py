"""Checks of tasks, poolers, activations and IO processors."""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import ActivationSpec, IOProcessorSpec, PoolerSpec, TaskSpec
from millpond.testing.records.common import (
    Fault,
    async_faults,
    class_faults,
    overrides,
    pooling_faults,
    signature_faults,
    unknown,
    unknown_tasks,
)
from millpond.testing.records.task_calls import call_faults
from millpond.types.config import JOINED_BY

if TYPE_CHECKING:
    from torch import Tensor

PLUGIN_TASK = "plugin"
SHAPES = ((7,), (1, 7), (5, 7), (3, 2, 7))
STEPS = {"encode": ("self", "call"), "decode": ("self", "work")}


def task_fields(registry: Registry, entry: Entry[TaskSpec]) -> Iterator[Fault]:
    """Check the IO processor, pooling, activation, the tasks it is derived from, and the fields that define calls."""
    spec = entry.spec
    yield from call_faults(registry, entry)
    yield from unknown_tasks(registry, "derived_from", spec.derived_from)
    if spec.name != PLUGIN_TASK:
        if spec.io_processor not in registry.io_processors:
            yield unknown("io_processor", spec.io_processor, registry.io_processors.names())
        elif not _serves(registry, spec):
            reason = f"its io_processor {spec.io_processor!r} does not support it"
            yield Fault(reason, f"add {spec.name!r} to tasks of that record")
    if spec.default_activation is not None and spec.default_activation not in registry.activations:
        yield unknown("default_activation", spec.default_activation, registry.activations.names())
    for name in spec.derived_from:
        if name == spec.name or (name in registry.tasks and registry.tasks.get(name).spec.derived_from):
            yield Fault(f"derived_from names {name!r}, which is itself derived", "name the tasks that models serve")
    if not spec.derived_from:
        yield from pooling_faults(registry, "default_pooling", spec.default_pooling)
        yield from _per_token_faults(registry, spec)


def task_target(registry: Registry, entry: Entry[TaskSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is the type of an output."""
    del registry, entry
    if not isinstance(target, type):
        yield Fault(f"its target is {target!r:.80}, not a type", "name the class of the output")


def pooler_fields(registry: Registry, entry: Entry[PoolerSpec]) -> Iterator[Fault]:
    """Check that its tasks and its activation exist."""
    spec = entry.spec
    if not spec.tasks:
        yield Fault("it has no tasks", "list its tasks: tasks=('embed',)")
    yield from unknown_tasks(registry, "tasks", spec.tasks)
    if JOINED_BY in spec.name:
        reason = f"its name contains {JOINED_BY!r}, which joins pooling types"
        yield Fault(reason, f"write {spec.name.replace(JOINED_BY, '_')!r}")
    if spec.activation is not None and spec.activation not in registry.activations:
        yield unknown("activation", spec.activation, registry.activations.names())


def pooler_target(registry: Registry, entry: Entry[PoolerSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a Pooler that returns one result per sequence for random hidden states."""
    from millpond.nn import Pooler  # noqa: PLC0415  needs torch
    from millpond.testing.records.trials import try_pooler  # noqa: PLC0415  as above

    faults = class_faults(target, Pooler, "millpond.nn.Pooler")
    if not faults and not overrides(target, Pooler, "pool", "forward"):
        faults.append(Fault("its target overrides neither pool nor forward", "implement pool(hidden_states, metadata)"))
    if not faults:
        faults += async_faults(target, "pool", "forward")
        for method in ("pool", "forward"):
            faults += signature_faults(method, getattr(target, method), ("self", "hidden_states", "metadata"))
    if not faults and entry.origin.rank != "builtin":
        faults += try_pooler(registry, entry)
    yield from faults


def activation_fields(registry: Registry, entry: Entry[ActivationSpec]) -> Iterator[Fault]:
    """Check that its op exists."""
    ops = {kernel.spec.op for kernel in registry.kernels.entries()}
    if entry.spec.op is not None and entry.spec.op not in ops:
        yield unknown("op", entry.spec.op, ops)


def activation_target(registry: Registry, entry: Entry[ActivationSpec], target: Any) -> Iterator[Fault]:
    """Check that the target takes a tensor and returns one of the same shape."""
    del registry, entry
    faults = list(signature_faults("target", target, ("x",)))
    if not faults and inspect.iscoroutinefunction(target):
        faults.append(Fault("its target is async, but it is called without await", "write def"))
    if not faults:
        faults += filter(None, (_activation_fault(target, shape) for shape in SHAPES))
    yield from faults[:1]


def io_processor_fields(registry: Registry, entry: Entry[IOProcessorSpec]) -> Iterator[Fault]:
    """Check that its tasks exist."""
    if not entry.spec.tasks:
        yield Fault("it has no tasks", "list its tasks: tasks=('plugin',) for its own input and output")
    yield from unknown_tasks(registry, "tasks", entry.spec.tasks)


def io_processor_target(registry: Registry, entry: Entry[IOProcessorSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is an IOProcessor with all required methods."""
    del registry, entry
    from millpond.pipeline.io_processor import IOProcessor  # noqa: PLC0415  `plugins list` does not need it

    faults = class_faults(target, IOProcessor, "millpond.IOProcessor")
    if faults:
        yield from faults
        return
    yield from _missing(target, ("encode",), ("decode", "decode_many"))
    yield from async_faults(target, *STEPS, "complete", "items", "decode_many", "refusal")
    for method, arguments in {**STEPS, "complete": ("self", "call"), "items": ("self", "prompts")}.items():
        yield from signature_faults(method, getattr(target, method), arguments)
    if not inspect.ismethod(target.refusal):
        yield Fault("refusal is not a class method", "decorate it with @classmethod: refusal(cls, ctx)")
    else:
        yield from signature_faults("refusal", target.refusal, ("ctx",))


def _missing(target: Any, *steps: tuple[str, ...]) -> Iterator[Fault]:
    from millpond.pipeline.io_processor import IOProcessor  # noqa: PLC0415  `plugins list` does not need it

    for methods in steps:
        if not overrides(target, IOProcessor, *methods):
            yield Fault(f"its target does not implement {' or '.join(methods)}", f"implement {methods[0]}")


def _serves(registry: Registry, spec: TaskSpec) -> bool:
    return any(
        spec.name in entry.spec.tasks
        for entry in registry.io_processors.entries(overridden=True)
        if spec.io_processor in (entry.spec.name, entry.qualified)
    )


def _per_token_faults(registry: Registry, spec: TaskSpec) -> Iterator[Fault]:
    for name in spec.pooling.split(JOINED_BY):
        for pooler in [it for it in registry.poolers.entries() if name in (it.spec.name, it.qualified)][:1]:
            tasks = [task for task in pooler.spec.tasks if task in registry.tasks]
            if tasks and spec.per_token not in {registry.tasks.get(task).spec.per_token for task in tasks}:
                unit = "token" if spec.per_token else "prompt"
                yield Fault(f"its default_pooling {name!r} does not return one result per {unit}", "name another")


def _activation_fault(function: Any, shape: tuple[int, ...]) -> Fault | None:
    import torch  # noqa: PLC0415  `plugins list` does not need it

    x: Tensor = torch.linspace(-1, 1, 7).expand(shape).clone()
    before = x.clone()
    try:
        with torch.inference_mode():
            result = function(x)
    except Exception as error:  # noqa: BLE001  a plugin may raise anything
        reason = f"its target raised {type(error).__name__} for a tensor {list(shape)}: {error}"
        return Fault(reason, "take any tensor [..., dim]")
    if not isinstance(result, torch.Tensor):
        reason = f"its target returned a {type(result).__name__} for a tensor {list(shape)}"
        return Fault(reason, "return a tensor of the same shape")
    if result.shape != x.shape:
        reason = f"its target returned a tensor {list(result.shape)} for one of {list(shape)}"
        return Fault(reason, "return a tensor of the same shape")
    if not result.is_floating_point():
        reason = f"its target returned {str(result.dtype).removeprefix('torch.')} for a tensor of float32"
        return Fault(reason, "return floating-point numbers")
    if not torch.equal(x, before):
        return Fault("its target writes into its input", "return a new tensor")
    return None
