"""Shared checks of records: names, types of fields, signatures, and references to other records."""

import inspect
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs.base import Spec, wrong_types
from millpond.plugin.target import imported
from millpond.types.errors import quoted

ANY_TARGET = "target"
UNLISTED = "published_model"  # listings do not show the summaries of this kind
MAY_BE_EMPTY = ("summary", "name", "instruction")
MAY_BE_BLANK = {("converter", "pooling"), ("", "pieces")}  # "" means no pooling type


@dataclass(frozen=True)
class Fault:
    """A fault of a record.

    Attributes:
        reason: The description of the fault.
        fix: The way to fix it.
        is_note: True for values that are allowed but probably unintended.
    """

    reason: str
    fix: str
    is_note: bool = False

    def __str__(self) -> str:
        """Return reason and fix in one line."""
        return f"{self.reason}; fix: {self.fix}"


def common_faults(entry: Entry[Any]) -> Iterator[Fault]:
    """Yield faults of the name, the summary, and the types of all fields."""
    spec = entry.spec
    yield from _name_faults(spec)
    yield from _type_faults(spec)
    if not isinstance(spec.summary, str) or spec.kind == UNLISTED:
        return
    if not spec.summary.strip():
        yield Fault("it has no summary", "add summary='...': listings show it", is_note=True)
    elif "\n" in spec.summary:
        yield Fault("its summary is longer than one line", "shorten it to one line")


def unknown_tasks(registry: Registry, field: str, tasks: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each task that no plugin provides."""
    known = registry.tasks.names()
    for task in tasks:
        if task not in registry.tasks:
            yield unknown(field, task, known)


def unknown(field: str, name: object, known: Iterable[str]) -> Fault:
    """Return the fault of a name that does not exist."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    fix = f"write {close[0]!r}" if close else f"use one of {', '.join(names) or 'none'}"
    return Fault(f"{field} names {name!r}, which no plugin provides", fix)


def repeated(field: str, names: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each name that is listed more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            yield Fault(f"{field} lists {name!r} {count} times", "list it once")


def blank(field: str, names: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault if one of the names is empty."""
    if not all(name.strip() for name in names):
        yield Fault(f"{field} contains an empty name", "remove it")


def named(field: str, target: str | None) -> tuple[Any, list[Fault]]:
    """Import the object that a field names; return it, or None if the field is not set, and the faults."""
    if target is None:
        return None, []
    try:
        value = imported(target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  a plugin's import may raise anything
        reason = f"{field}={target!r} raised {quoted(error)}"
        return None, [Fault(reason, "correct the import string, or install what it imports")]
    if value is None:
        return None, [Fault(f"{field}={target!r} is None", "name a class or a function")]
    return value, []


def signature_faults(name: str, function: Any, arguments: tuple[str, ...]) -> Iterator[Fault]:
    """Yield a fault if a function cannot be called with these positional arguments."""
    call = f"{name}({', '.join(arguments)})"
    if not callable(function):
        yield Fault(f"{name} is {function!r}, which cannot be called", f"name a function: {call}")
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        yield Fault(f"{call} does not match its signature {signature}: {error}", f"declare it to be called as {call}")


def class_faults(target: Any, base: type, name: str, *, constructor: tuple[str, ...] = ("ctx",)) -> list[Fault]:
    """Return the faults of a target that must be a concrete subclass, built as ``target(ctx)``."""
    if not isinstance(target, type):
        return [Fault(f"its target is {_shown(target)}, not a class", f"name a subclass of {name}")]
    if not issubclass(target, base):
        return [Fault(f"its target {target.__name__} is not a subclass of {name}", f"inherit from {name}")]
    if abstract := _abstract_methods(target):
        return [Fault(f"its target {target.__name__} is abstract: {', '.join(abstract)}", "implement these methods")]
    return list(signature_faults("target", target, constructor))


def _abstract_methods(target: type) -> list[str]:
    """The abstract methods of a class, whether or not its metaclass is ABCMeta."""
    return [name for name in dir(target) if getattr(getattr(target, name, None), "__isabstractmethod__", False)]


def method_faults(target: Any, protocols: str, *methods: str) -> Iterator[Fault]:
    """Yield a fault if a target lacks methods of its protocol.

    Args:
        target: The target.
        protocols: The module that describes the protocol.
        methods: The names of the methods.
    """
    missing = [name for name in methods if not callable(getattr(target, name, None))]
    if missing:
        yield Fault(f"its target {target!r:.80} lacks {' and '.join(missing)}", f"see the protocols in {protocols}")


def overrides(target: type, base: type, *methods: str) -> bool:
    """Return True if a class overrides at least one of the methods of its base."""
    return any(getattr(target, method, None) is not getattr(base, method, None) for method in methods)


def async_faults(target: Any, *methods: str) -> Iterator[Fault]:
    """Yield a fault for each method that is a coroutine function."""
    for method in methods:
        if inspect.iscoroutinefunction(getattr(target, method, None)):
            yield Fault(f"{method} is async, but it is called without await", f"write def {method}")


def pooling_faults(registry: Registry, field: str, name: str | None) -> Iterator[Fault]:
    """Yield a fault for each pooling type of a name such as ``CLS+MEAN`` that no plugin provides."""
    for pooling_type in () if name is None else name.split("+"):
        if pooling_type not in registry.poolers:
            yield unknown(field, pooling_type, registry.poolers.names())


def _name_faults(spec: Spec) -> Iterator[Fault]:
    name = spec.name
    if name != name.strip():
        yield Fault(f"its name {name!r} begins or ends with white space", f"write {name.strip()!r}")
    if "/" in name and not spec.has_slashes:
        reason = f"its name {name!r} contains '/', which separates plugin and name: nothing finds it"
        yield Fault(reason, f"write {name.replace('/', '-')!r}")


def _type_faults(spec: Any) -> Iterator[Fault]:
    """Faults of the types of a record's fields, including nested groups of fields."""
    wrong = list(wrong_types(spec, type(spec)))
    for it in wrong:
        yield Fault(f"{it.field}={it.value!r:.80} has the wrong type", f"pass {it.declared}")
    yield from _text_faults(spec, {it.field for it in wrong})


def _text_faults(spec: Any, ignored: Collection[str], group: str = "") -> Iterator[Fault]:
    """Faults of empty and repeated texts."""
    for item in fields(spec):
        value, name = getattr(spec, item.name), f"{group}{item.name}"
        if name in ignored or item.name == ANY_TARGET:
            continue
        if is_dataclass(value):
            yield from _text_faults(value, ignored, f"{name}.")
        if isinstance(value, tuple):
            if (getattr(spec, "kind", ""), item.name) not in MAY_BE_BLANK:
                yield from blank(name, value)
            if item.name != "pieces":
                yield from repeated(name, value)
        if isinstance(value, str) and not value.strip() and item.name not in MAY_BE_EMPTY:
            yield Fault(f"{name} is an empty text", "leave it out, or name something")


def _shown(value: object) -> str:
    return f"{type(value).__name__} {getattr(value, '__name__', value)!s:.80}"
