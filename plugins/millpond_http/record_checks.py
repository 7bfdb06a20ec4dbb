"""Checks of routes for ``millpond plugins doctor``."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault, named, repeated, signature_faults, unknown_tasks
from millpond_http.kinds import RouteSpec

HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
PARAMETER = re.compile(r"\{[A-Za-z_]\w*(:(str|path|int|float|uuid))?\}")
BODIES = ("json", "bytes", "request", "upload")


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


def _schema_faults(field: str, model: Any) -> Iterator[Fault]:
    from pydantic import BaseModel  # noqa: PLC0415  the other checks do not need it

    if not isinstance(model, type) or not issubclass(model, BaseModel):
        yield Fault(f"{field} names {model!r:.80}, which is not a pydantic model", "inherit from pydantic.BaseModel")
