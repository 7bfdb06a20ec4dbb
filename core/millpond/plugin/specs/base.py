"""The base of all records: a name, and where the named object is found."""

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A name, and where the thing named is found.

    Attributes:
        name: What users ask for.
        target: ``"package.module:attribute"``, imported at first use; or the object itself.
        summary: One line for listings and ``--help``.
    """

    kind: ClassVar[str]
    name: str
    target: str | object
    summary: str = ""

    def __post_init__(self) -> None:
        """Refuse a text where a tuple of texts belongs: it would match by its letters."""
        for item in fields(self):
            if item.type == tuple[str, ...] and isinstance(getattr(self, item.name), str):
                value = getattr(self, item.name)
                message = f"{type(self).__name__}({self.name!r}): {item.name}={value!r} must be a tuple: ({value!r},)"
                raise TypeError(message)
