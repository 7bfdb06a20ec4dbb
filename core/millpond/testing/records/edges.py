"""Checks of kernels, sources, caches, commands, routes, executors and services."""

import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import CacheSpec, CommandSpec, ExecutorSpec, KernelSpec, RouteSpec, ServiceSpec, SourceSpec
from millpond.testing.records.common import Fault, named, repeated, signature_faults, unknown_tasks
from millpond.types.errors import quoted

EXECUTOR_METHODS = ("submit", "run", "abandon", "stopped", "statuses", "close")
HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
PARAMETER = re.compile(r"\{[A-Za-z_]\w*(:(str|path|int|float|uuid))?\}")
BODIES = ("json", "bytes", "request", "upload")
ROLES = {
    "cluster": ("run",),
    "application": ("start", "check_health"),
    "arguments": ("translate", "names"),
    "results": (),
    "space": (),
}
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


def cache_fields(registry: Registry, entry: Entry[CacheSpec]) -> Iterator[Fault]:
    """Check that the name is a valid scheme."""
    del registry
    if not re.fullmatch(r"[A-Za-z][\w+.-]+", entry.spec.name):
        yield Fault(f"its name {entry.spec.name!r} is not a valid scheme", "use at least two letters and digits")


def cache_target(registry: Registry, entry: Entry[CacheSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is called with the options."""
    del registry, entry
    if inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")
    yield from signature_faults("target", target, ("options",))


def executor_fields(registry: Registry, entry: Entry[ExecutorSpec]) -> Iterator[Fault]:
    """Check nothing: an executor has only the fields of every record."""
    del registry, entry
    yield from ()


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


def command_fields(registry: Registry, entry: Entry[CommandSpec]) -> Iterator[Fault]:
    """Check that the name can be typed as a command."""
    del registry
    if re.search(r"\s", entry.spec.name) or entry.spec.name.startswith("-"):
        yield Fault(f"its name {entry.spec.name!r} cannot be typed as a command", "write one word, with hyphens")


def command_target(registry: Registry, entry: Entry[CommandSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a Typer app with a valid command."""
    del registry, entry
    import typer  # noqa: PLC0415  the other checks do not need it
    from typer.main import get_command  # noqa: PLC0415  as above

    if not isinstance(target, typer.Typer):
        yield Fault(f"its target is {target!r:.80}, not a typer.Typer", "name an app: app = typer.Typer()")
        return
    if not (target.registered_commands or target.registered_groups or target.registered_callback):
        yield Fault("its typer.Typer has no command", "decorate a function with @app.command()")
        return
    try:
        get_command(target)
    except Exception as error:  # noqa: BLE001  typer raises many exception types for invalid parameters
        reason = f"typer cannot build its command: {type(error).__name__}: {error}"
        yield Fault(reason, "use parameter types that typer supports")


def route_fields(registry: Registry, entry: Entry[RouteSpec]) -> Iterator[Fault]:
    """Check method, path, tasks, body, and the models of request, response and errors."""
    spec = entry.spec
    method, space, path = spec.name.partition(" ")
    if not space or method not in HTTP_METHODS:
        fix = f"write one of {', '.join(HTTP_METHODS)} and the path: 'POST {path or spec.name}'"
        yield Fault(f"its name {spec.name!r} has no method", fix)
    elif not path.startswith("/") or re.search(r"\s", path):
        yield Fault(f"its path {path!r} is invalid", "begin it with '/', without white space")
    elif re.search(r"[{}]", PARAMETER.sub("", path)):
        yield Fault(f"its path {path!r} has an invalid parameter", "write '{id}' or '{id:path}'")
    else:
        yield from repeated("its path", (match[1:-1].partition(":")[0] for match in re.findall(r"\{[^}]*\}", path)))
    yield from unknown_tasks(registry, "tasks", spec.tasks)
    if spec.body not in BODIES:
        yield Fault(f"body={spec.body!r} is unknown", f"use one of {', '.join(BODIES)}")
    for field in ("request", "response", "error"):
        model, faults = named(field, getattr(spec, field))
        yield from faults
        if model is not None:
            yield from _schema_faults(field, model)


def route_target(registry: Registry, entry: Entry[RouteSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is an async function (request, llm) or (request, llm, call)."""
    del registry, entry
    function = target if inspect.isroutine(target) else getattr(target, "__call__", target)  # noqa: B004
    if not callable(target):
        yield Fault(f"its target is {target!r:.80}, which cannot be called", "name a function: async def target(...)")
        return
    if isinstance(target, type) or not (inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(function)):
        yield Fault("its target is not an async function", "write async def target(request, llm)")
    faults = list(signature_faults("target", target, ("request", "llm")))
    if faults and list(signature_faults("target", target, ("request", "llm", "call"))):
        yield from faults


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


def _schema_faults(field: str, model: Any) -> Iterator[Fault]:
    from pydantic import BaseModel  # noqa: PLC0415  the other checks do not need it

    if not isinstance(model, type) or not issubclass(model, BaseModel):
        yield Fault(f"{field} names {model!r:.80}, which is not a pydantic model", "inherit from pydantic.BaseModel")


def service_fields(registry: Registry, entry: Entry[ServiceSpec]) -> Iterator[Fault]:
    """Check the role, and that the name of a cluster can be an option."""
    del registry
    if entry.spec.role not in ROLES:
        yield Fault(f"its role {entry.spec.role!r} is unknown", f"use one of {', '.join(map(repr, ROLES))}")
    if not entry.spec.name.isidentifier():
        yield Fault(f"its name {entry.spec.name!r} cannot be an option", "use letters, digits and _")


def service_target(registry: Registry, entry: Entry[ServiceSpec], target: Any) -> Iterator[Fault]:
    """Check that the target has the methods of its role."""
    del registry
    missing = [name for name in ROLES.get(entry.spec.role, ()) if not callable(getattr(target, name, None))]
    if missing:
        yield Fault(
            f"its target {target!r:.80} lacks {' and '.join(missing)}", "see the protocols in millpond.types.services"
        )
