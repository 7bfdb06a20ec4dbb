"""Limits on CPU time and memory while a template from a request is rendered."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from time import thread_time
from typing import Any

from jinja2 import Undefined

ELEMENT_SIZE = 16  # the size of a list element, in characters
MAX_DEPTH = 200  # of nested lists: some operations of Python recurse without a check
MAX_INT = 2**64  # many larger integers share a hash, which makes dicts slow
SEQUENCES: tuple[type[Collection[Any]], ...] = (list, tuple, type({}.keys()), type({}.values()), type({}.items()))
# The budget of a rendering, in characters: enough for some copies of its variables, but at most MAX_BUDGET.
MIN_BUDGET = 2**22
MAX_BUDGET = 2**26
COPIES_OF_VARIABLES = 16


class LimitReached(Exception):  # noqa: N818  a limit, not an error of the program
    """A template exceeds its limit of time or memory."""


class OpaqueValueError(TypeError):
    """A value is not a text, number, list or dict."""


class Meter:
    """The remaining CPU time and size of one rendering.

    Attributes:
        remaining: The total size of the values that may still be created, in characters.
    """

    def __init__(self, seconds: float, max_chars: int, variables: Mapping[str, Any]) -> None:
        """Start the measurement.

        Args:
            seconds: The maximum CPU time.
            max_chars: The maximum length of the result, in characters.
            variables: The variables of the template, whose size determines the budget.

        Raises:
            LimitReached: If the variables are too large.
            OpaqueValueError: If the variables contain values that JSON cannot represent.
        """
        self._end = thread_time() + seconds
        self.remaining = MIN_BUDGET + 2 * max_chars
        self.remaining = min(MIN_BUDGET + COPIES_OF_VARIABLES * self.size_of(variables), MAX_BUDGET)

    def spend(self, size: int = 0) -> None:
        """Count a step that creates values of the given size.

        Raises:
            LimitReached: If the size or the time is exceeded.
        """
        self.remaining -= size
        if self.remaining < 0 or thread_time() >= self._end:
            raise LimitReached

    def count_value(self, value: Any) -> None:
        """Count a value that was created."""
        self.spend(self.size_of(value))

    def count_each(self, values: Iterable[Any]) -> Iterator[Any]:
        """Yield values, and count each as a step."""
        for value in values:
            self.spend(ELEMENT_SIZE)
            yield value

    def size_of(self, value: Any) -> int:
        """Return the size of a value, including nested values; values that occur several times count each time.

        Raises:
            LimitReached: If the size is larger than the remaining size, or lists are nested too deeply.
            OpaqueValueError: If the value is or contains anything except texts, numbers, lists and dicts.
        """
        size, pending = 0, [(value, 0)]
        while pending:
            item, depth = pending.pop()
            size += ELEMENT_SIZE
            if isinstance(item, str):
                size += len(item)
            elif isinstance(item, dict):
                pending.extend((nested, depth + 1) for pair in item.items() for nested in pair)
            elif isinstance(item, SEQUENCES):
                pending.extend((nested, depth + 1) for nested in item)
            elif isinstance(item, int):
                size += self.remaining if abs(item) > MAX_INT else 0
            elif not (item is None or isinstance(item, float | range | Undefined)):
                message = f"expected texts, numbers, lists and dicts; got {type(item).__name__}"
                raise OpaqueValueError(message)
            if size > self.remaining or depth > MAX_DEPTH:
                raise LimitReached
        return size
