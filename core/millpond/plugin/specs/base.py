"""The base of all records: a name, and where the named object is found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A name, and where the named object is found.

    Attributes:
        name: The name by which the component is selected.
        target: ``"package.module:attribute"``, imported at first use; or the object itself.
        summary: One line for listings and ``--help``.
        kind: The kind of its records, as in the name of the hook ``register_colors``.
        checks: The module with the functions ``color_fields(registry, entry)`` and
            ``color_target(registry, entry, target)``, which yield the faults of a record for ``millpond plugins
            doctor``; empty for none.
        has_slashes: True if names may contain "/", which separates plugin and name.
    """

    kind: ClassVar[str]
    checks: ClassVar[str] = ""
    has_slashes: ClassVar[bool] = False
    name: str
    target: str | object
    summary: str = ""

    def __post_init__(self) -> None:
        """Refuse text in place of a tuple."""
        check_tuples(self, f"({self.name!r})")


def check_tuples(record: Any, label: str = "") -> None:
    """Refuse a string where a tuple of strings is expected: it would be read letter by letter.

    Args:
        record: A dataclass object.
        label: Follows the name of its class in the message.
    """
    for item in fields(record):
        value = getattr(record, item.name)
        if item.type == tuple[str, ...] and isinstance(value, str):
            message = f"{type(record).__name__}{label}: {item.name}={value!r} must be a tuple: ({value!r},)"
            raise TypeError(message)


class WrongType(NamedTuple):
    """A field whose value does not have the declared type: its name, such as ``output.num_labels``."""

    field: str
    value: object
    hint: Any

    @property
    def declared(self) -> str:
        """The declared type, as in source code."""
        is_class = isinstance(self.hint, type) and not get_args(self.hint)
        return self.hint.__name__ if is_class else str(self.hint)


def wrong_types(value: Any, record: Any, group: str = "") -> Iterator[WrongType]:
    """Yield the fields of a record, and of its groups of fields, whose values do not have the declared types.

    Args:
        value: The record.
        record: The class that declares the fields.
        group: The name of the group with a dot; empty for the record.
    """
    for name, hint in _hints(record).items():
        inner = getattr(value, name)
        if not _matches(inner, hint):
            yield WrongType(f"{group}{name}", inner, hint)
        elif is_dataclass(inner):
            yield from wrong_types(inner, type(inner), f"{group}{name}.")


@cache
def _hints(record: Any) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {item.name: hints[item.name] for item in fields(record) if item.name != "target"}  # may be any object


def _matches(value: object, hint: Any) -> bool:
    """Return True if a value has one of the types that fields of records have; a bool is not a number."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_matches(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(item, arguments[0]) for item in value)
    if origin is Mapping:
        keys, values = arguments
        return isinstance(value, Mapping) and all(
            _matches(key, keys) and _matches(it, values) for key, it in value.items()
        )
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
