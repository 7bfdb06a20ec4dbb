"""Checks of the fields of a task's record that define its calls: items, options, method and output."""

from collections.abc import Iterator
from keyword import iskeyword
from typing import Any

from pydantic import BaseModel

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import TaskSpec
from millpond.testing.records.common import Fault, named


def call_faults(registry: Registry, entry: Entry[TaskSpec]) -> Iterator[Fault]:
    """Yield faults of the items, the options, the method and the output type of a task."""
    spec = entry.spec
    options, faults = _named("options", spec.options)
    yield from faults
    if options is not None:
        yield from _options_faults(options)
    item, faults = _named("item", spec.item)
    yield from faults
    if item is not None and not _is_model(item):
        yield Fault(f"item names {item!r:.80}, not a pydantic model", "name a subclass of pydantic.BaseModel")
    output, faults = _named("output", spec.output)
    yield from faults
    if output is not None:
        yield from _output_faults(output)
    if spec.method is not None:
        yield from _method_faults(registry, spec)


def _named(field: str, value: str | object) -> tuple[Any, list[Fault]]:
    """The object of a field that contains an import string or the object itself."""
    return named(field, value) if isinstance(value, str) else (value, [])


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _options_faults(options: Any) -> Iterator[Fault]:
    if not _is_model(options):
        yield Fault(f"options names {options!r:.80}, not a pydantic model", "name a subclass of pydantic.BaseModel")
        return
    for key, value in (("frozen", True), ("extra", "forbid")):
        if options.model_config.get(key) != value:
            fix = 'set model_config = ConfigDict(frozen=True, extra="forbid")'
            yield Fault(f"its options {options.__name__} lack {key}={value!r}", fix)


def _output_faults(output: Any) -> Iterator[Fault]:
    from millpond.types.outputs import PoolingRequestOutput  # noqa: PLC0415  `plugins list` does not need it

    if not (isinstance(output, type) and issubclass(output, PoolingRequestOutput)):
        reason = f"output names {output!r:.80}, not a subclass of millpond.PoolingRequestOutput"
        yield Fault(reason, "inherit from PoolingRequestOutput; target names the type of its field outputs")


def _method_faults(registry: Registry, spec: TaskSpec) -> Iterator[Fault]:
    from millpond.async_llm import AsyncLLM  # noqa: PLC0415  `plugins list` does not need it
    from millpond.llm import LLM  # noqa: PLC0415  as above

    method = str(spec.method)
    if not method.isidentifier() or iskeyword(method) or method.startswith("_"):
        yield Fault(f"method={method!r} is not the name of a public method", "use a Python name, such as 'fingerprint'")
    for owner in (LLM, AsyncLLM):
        if hasattr(owner, method):
            yield Fault(f"method={method!r} is never called: {owner.__name__} has it already", "use another name")
            return
    others = (it for it in registry.tasks.entries() if it.spec.name != spec.name)
    taken = next((it.qualified for it in others if it.spec.method == method), None)
    if taken is not None:
        yield Fault(f"method={method!r} is also the method of the task {taken!r}", "use another name")
