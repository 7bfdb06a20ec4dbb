"""What the checks of all kinds share: faults, names, types of fields, signatures, and names that must be known."""

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.target import imported

ANY_TARGET = "target"
WITH_SLASH = ("route", "published_model")
UNLISTED = "published_model"  # listings show no summaries of them
MAY_BE_EMPTY = ("summary", "name", "instruction")
MAY_BE_BLANK = {("converter", "pooling"), ("", "pieces")}  # where "" stands for no pooling type


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record.

    Attributes:
        reason: What is wrong.
        fix: How to fix it.
        is_note: True for what is allowed, and yet is seldom meant.
    """

    reason: str
    fix: str
    is_note: bool = False

    def __str__(self) -> str:
        """Reason and fix in one line."""
        return f"{self.reason}; fix: {self.fix}"


def common_faults(entry: Entry[Any]) -> Iterator[Fault]:
    """Faults of the name, the summary, the target's spelling, and the types of all fields."""
    spec = entry.spec
    yield from _name_faults(spec.kind, spec.name)
    yield from _type_faults(spec)
    if not isinstance(spec.summary, str) or spec.kind == UNLISTED:
        return
    if not spec.summary.strip():
        yield Fault("it has no summary", "add summary='...': listings show it", is_note=True)
    elif "\n" in spec.summary:
        yield Fault("its summary is longer than one line", "shorten it to one line")


def unknown_tasks(registry: Registry, field: str, tasks: Iterable[str]) -> Iterator[Fault]:
    """A fault for each task that no plugin provides."""
    known = registry.tasks.names()
    for task in tasks:
        if task not in registry.tasks:
            yield unknown(field, task, known)


def unknown(field: str, name: object, known: Iterable[str]) -> Fault:
    """The fault of a name that does not exist."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    fix = f"write {close[0]!r}" if close else f"use one of {', '.join(names) or 'none'}"
    return Fault(f"{field} names {name!r}, which no plugin provides", fix)


def repeated(field: str, names: Iterable[str]) -> Iterator[Fault]:
    """A fault for each name that is listed more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            yield Fault(f"{field} lists {name!r} {count} times", "list it once")


def blank(field: str, names: Iterable[str]) -> Iterator[Fault]:
    """A fault if one of several names is empty."""
    if not all(name.strip() for name in names):
        yield Fault(f"{field} contains an empty name", "remove it")


def named(field: str, target: str | None) -> tuple[Any, list[Fault]]:
    """What a field names by an import string, and the fault if it does not import; None for a field that is not set."""
    if target is None:
        return None, []
    try:
        found = imported(target)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's import may raise anything
        reason = f"{field}={target!r} raised {type(error).__name__}: {error}"
        return None, [Fault(reason, "correct the import string, or install what it imports")]
    if found is None:
        return None, [Fault(f"{field}={target!r} is None", "name a class or a function")]
    return found, []


def signature_faults(what: str, function: Any, arguments: tuple[str, ...]) -> Iterator[Fault]:
    """A fault if a function cannot be called with so many positional arguments."""
    called = f"{what}({', '.join(arguments)})"
    if not callable(function):
        yield Fault(f"{what} is {function!r}, which cannot be called", f"name a function: {called}")
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        yield Fault(f"{called} does not fit its signature {signature}: {error}", f"declare it to be called as {called}")


def class_faults(target: Any, base: type, name: str, *, constructor: tuple[str, ...] = ("ctx",)) -> list[Fault]:
    """Faults of a target that must be a concrete subclass, built as ``target(ctx)``."""
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


def overrides(target: type, base: type, *methods: str) -> bool:
    """True if a class overrides at least one of the methods of its base."""
    return any(getattr(target, method, None) is not getattr(base, method, None) for method in methods)


def async_faults(target: Any, *methods: str) -> Iterator[Fault]:
    """A fault for each method that is a coroutine function."""
    for method in methods:
        if inspect.iscoroutinefunction(getattr(target, method, None)):
            yield Fault(f"{method} is async, and is called without await", f"write def {method}")


def pooling_faults(registry: Registry, field: str, name: str | None) -> Iterator[Fault]:
    """A fault for each pooling type of a name such as ``CLS+MEAN`` that no plugin provides."""
    for one in () if name is None else name.split("+"):
        if one not in registry.poolers:
            yield unknown(field, one, registry.poolers.names())


def _name_faults(kind: str, name: str) -> Iterator[Fault]:
    if name != name.strip():
        yield Fault(f"its name {name!r} begins or ends with white space", f"write {name.strip()!r}")
    if "/" in name and kind not in WITH_SLASH:
        reason = f"its name {name!r} contains '/', which separates plugin and name: nothing finds it"
        yield Fault(reason, f"write {name.replace('/', '-')!r}")


def _type_faults(spec: Any, group: str = "") -> Iterator[Fault]:
    """Faults of the types of a record's fields, and of those in its groups."""
    hints = _hints(type(spec))  # type: ignore[arg-type]  # mypy takes type[Any] for unhashable
    for item in fields(spec):
        value = getattr(spec, item.name)
        if item.name not in hints:
            continue
        try:
            hints[item.name].validate_python(dict(value) if isinstance(value, Mapping) else value, strict=True)
        except ValidationError:
            yield Fault(f"{group}{item.name}={value!r} has the wrong type", f"pass {_spelled(type(spec), item.name)}")
            continue
        if is_dataclass(value):
            yield from _type_faults(value, f"{item.name}.")
        if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            if (getattr(spec, "kind", ""), item.name) not in MAY_BE_BLANK:
                yield from blank(group + item.name, value)
            if item.name != "pieces":
                yield from repeated(group + item.name, value)
        if isinstance(value, str) and not value.strip() and item.name not in MAY_BE_EMPTY:
            yield Fault(f"{group}{item.name} is an empty text", "leave it out, or name something")


@cache
def _hints(record: Any) -> dict[str, TypeAdapter[Any]]:
    config = ConfigDict(arbitrary_types_allowed=True)
    hints = get_type_hints(record)
    plain = {item.name: hints[item.name] for item in fields(record) if item.name != ANY_TARGET}
    # A dataclass has its own configuration: pydantic refuses another one.
    return {name: TypeAdapter(hint, config=None if is_dataclass(hint) else config) for name, hint in plain.items()}


def _spelled(record: type, field: str) -> str:
    hint = get_type_hints(record)[field]
    return str(getattr(hint, "__name__", hint) if isinstance(hint, type) and not hasattr(hint, "__args__") else hint)


def _shown(value: object) -> str:
    return f"{type(value).__name__} {getattr(value, '__name__', value)!s:.80}"
