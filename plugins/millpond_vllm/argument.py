"""Argument: an argument of vLLM that is accepted without effect, or refused with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["value", "flag", "list"]
"""The form of an option: one value, ``--x`` and ``--no-x``, or one or more values."""
Takes = Literal["both", "engine", "server"]


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument that has no effect, or that requests an unsupported feature.

    Attributes:
        name: The name in Python; the option is the same with dashes.
        form: The form of the option.
        neutral: The values without effect, as a tuple or a function of the value; None if all values are ignored.
        reason: The reason for refusing other values, and the alternative.
        equals: The argument whose value is also accepted.
        takes: "engine" for arguments of ``LLM`` and ``AsyncLLM``, "server" for ``millpond serve``, or "both".
    """

    name: str
    form: Form = "value"
    neutral: tuple[object, ...] | Callable[[Any], bool] | None = None
    reason: str = ""
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
        if self.neutral is None or value is None:
            return False
        if self.equals is not None and value == others.get(self.equals):
            return False
        return not (self.neutral(value) if callable(self.neutral) else value in self.neutral)

    def refusal(self, shown: str) -> str:
        """Return the message that refuses a value.

        Args:
            shown: The argument and the value as the caller wrote them.
        """
        return f"{shown} is not supported: {self.reason}"

    def is_quiet(self, value: object) -> bool:
        """Return True if a value needs no note, because it has no effect in vLLM either."""
        return self.neutral is not None and not callable(self.neutral) and value in (None, *self.neutral)
