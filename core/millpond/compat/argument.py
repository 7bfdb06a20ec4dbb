"""Argument: an argument of another library that is accepted without effect, or refused with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["value", "flag", "list"]
"""The form of an option: one value, ``--x`` and ``--no-x``, or one or more values."""
Takes = Literal["both", "engine", "server"]


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument that has no effect here, or that asks for something that Millpond does not do.

    Attributes:
        name: The name in Python; the option is the same with dashes.
        form: The form of the option.
        neutral: The values that ask for nothing, as a tuple or a function of the value; None if no value has an effect.
        reason: Why other values are refused, and the alternative.
        equals: The argument whose value is accepted as well.
        takes: Who takes it: "both", "engine" for ``LLM`` and ``AsyncLLM`` alone, "server" for ``millpond serve`` alone.
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
        """Return True if a value asks for something that Millpond does not do.

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
            shown: The argument and the value, as the caller wrote them.
        """
        return f"{shown} is not supported: {self.reason}"

    def is_quiet(self, value: object) -> bool:
        """Return True if a value needs no note, because it asks for nothing in vLLM either."""
        return self.neutral is not None and not callable(self.neutral) and value in (None, *self.neutral)
