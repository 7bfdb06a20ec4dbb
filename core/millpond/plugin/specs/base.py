"""The base of all records: a name, and where the named object is found."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A name, and where the named object is found.

    Attributes:
        name: The name by which the component is selected.
        target: ``"package.module:attribute"``, imported at first use; or the object itself.
        summary: One line for listings and ``--help``.
    """

    kind: ClassVar[str]
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
