"""Argument: an argument of vLLM that is accepted without effect, or refused with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Form = Literal["value", "flag", "list"]
"""The form of an option: one value, ``--x`` and ``--no-x``, or one or more values."""
Takes = Literal["both", "engine", "server"]
EMPTY: Final[tuple[object, ...]] = ("", (), [], {})


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument that has no effect, or that requests an unsupported feature.

    Attributes:
        name: The name in Python; the option is the same with dashes.
        form: The form of the option.
        reason: The reason for refusing values, and the alternative; empty if all values are ignored.
        accepted: The values without effect, besides None.
        accepted_without: The key without which an object has no effect.
        equals: The argument whose value is also accepted.
        takes: "engine" for arguments of ``LLM`` and ``AsyncLLM``, "server" for ``millpond serve``, or "both".
    """

    name: str
    form: Form = "value"
    reason: str = ""
    accepted: tuple[object, ...] = EMPTY
    accepted_without: str | None = None
    equals: str | None = None
    takes: Takes = "both"

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"

    def asks(self, value: object, others: Mapping[str, object]) -> bool:
        """Return True if a value requests an unsupported feature.

        Args:
            value: The value.
            others: The other arguments.
        """
        if not self.reason or value is None:
            return False
        if self.equals is not None and value == others.get(self.equals):
            return False
        if self.accepted_without is not None:
            return isinstance(value, Mapping) and bool(value.get(self.accepted_without))
        return value not in self.accepted

    def refusal(self, shown: str) -> str:
        """Return the message that refuses a value.

        Args:
            shown: The argument and the value as the caller wrote them.
        """
        return f"{shown} is not supported: {self.reason}"

    def is_quiet(self, value: object) -> bool:
        """Return True if a value needs no note, because it has no effect in vLLM either."""
        return bool(self.reason) and self.accepted_without is None and value in (None, *self.accepted)
