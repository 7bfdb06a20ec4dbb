"""Checks of kernels, sources and executors."""

import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import ExecutorSpec, KernelSpec, SourceSpec
from millpond.testing.records.common import Fault, named, signature_faults
from millpond.types.errors import quoted

EXECUTOR_METHODS = ("submit", "run", "abandon", "stopped", "statuses", "close")
MIN_SIMILARITY = 0.8  # between an unknown op and the op that is suggested


def kernel_fields(registry: Registry, entry: Entry[KernelSpec]) -> Iterator[Fault]:
    """Check the name, devices, dtypes, ``cases`` and ``available``, and that the op has a variant that always runs."""
    spec = entry.spec
    if not spec.op.strip() or not spec.variant.strip():
        yield Fault(f"its name {spec.name!r} is not <op>.<variant>", f"write a name such as '{spec.op or 'op'}.fast'")
        return
    import torch  # noqa: PLC0415  `plugins list` does not need it

    for device in spec.devices:
        try:
            index = torch.device(device).index
        except RuntimeError:
            yield Fault(f"devices names {device!r}, which torch does not know", "use device types such as 'cuda'")
            continue
        if index is not None:
            yield Fault(f"devices names the single device {device!r}", f"write {device.partition(':')[0]!r}")
    for name in spec.dtypes:
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            yield Fault(f"dtypes names {name!r}, which is not a floating-point dtype", "use names such as 'bfloat16'")
    yield from _op_faults(registry, entry)
    yield from _part_faults(registry, spec)
    yield from named("cases", spec.cases)[1]
    function, faults = named("available", spec.available)
    yield from faults
    if function is not None:
        yield from _available_faults(spec.available, function)


def kernel_target(registry: Registry, entry: Entry[KernelSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a function."""
    del registry, entry
    if not callable(target):
        yield Fault(f"its target is {target!r:.80}, which cannot be called", "name a function")
    elif inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")


def source_fields(registry: Registry, entry: Entry[SourceSpec]) -> Iterator[Fault]:
    """Check that the name is a valid scheme."""
    del registry
    if re.search(r"[:\s]", entry.spec.name):
        yield Fault(f"its name {entry.spec.name!r} is not a valid scheme", "use letters and digits")


def source_target(registry: Registry, entry: Entry[SourceSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a function of name and options."""
    del registry, entry
    if isinstance(target, type):
        yield Fault(f"its target {target.__name__} is a class", "name a function: target(name, options) -> Path | None")
        return
    if inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")
    yield from signature_faults("target", target, ("name", "options"))


def executor_target(registry: Registry, entry: Entry[ExecutorSpec], target: Any) -> Iterator[Fault]:
    """Check that the target takes the setup, and that a class has the members of ``Executor``."""
    del registry, entry
    if inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")
    yield from signature_faults("target", target, ("setup",))
    if isinstance(target, type):
        missing = [name for name in EXECUTOR_METHODS if not callable(getattr(target, name, None))]
        if missing:
            yield Fault(f"its target {target.__name__} lacks {', '.join(missing)}", "implement these methods")


def _op_faults(registry: Registry, entry: Entry[KernelSpec]) -> Iterator[Fault]:
    spec = entry.spec
    same = [it.spec for it in registry.kernels.entries(overridden=True) if it.spec.op == spec.op]
    others = {it.spec.op for it in registry.kernels.entries() if it.origin.plugin != entry.origin.plugin}
    close = get_close_matches(spec.op, others, n=1, cutoff=MIN_SIMILARITY)
    if spec.op not in others and close:
        yield Fault(f"the op {spec.op!r} is unknown to all other plugins", f"write '{close[0]}.{spec.variant}'")
    elif not any(not it.devices and not it.dtypes and it.available is None for it in same):
        reason = f"the op {spec.op!r} has no variant that runs everywhere"
        yield Fault(reason, "add one in plain torch, without devices, dtypes and available", is_note=True)


def _part_faults(registry: Registry, spec: KernelSpec) -> Iterator[Fault]:
    for part in spec.fuses:
        op, _, variant = part.rpartition("/")[2].partition(".")
        if op == spec.op:
            yield Fault(f"fuses names {part!r}, of its own op", "name the ops that it replaces")
        elif op not in registry.kernels.grouped("op"):
            known = ", ".join(sorted(map(str, registry.kernels.grouped("op"))))
            yield Fault(f"fuses names {part!r}, of an unknown op", f"use kernels of: {known}")
        elif variant and part not in registry.kernels:
            known = ", ".join(entry.spec.name for entry in registry.kernels.grouped("op")[op])
            yield Fault(
                f"fuses names {part!r}, which no installed plugin provides", f"use one of {known}", is_note=True
            )


def _available_faults(name: str | None, function: Any) -> Iterator[Fault]:
    faults = list(signature_faults("available", function, ()))
    if faults:
        yield from faults
        return
    try:
        answer = function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin may raise anything
        yield Fault(f"available={name!r} raised {quoted(error)}", "return False or the reason")
        return
    if not isinstance(answer, bool | str):
        yield Fault(f"available={name!r} returned {answer!r:.80}", "return True, False or the reason as text")
