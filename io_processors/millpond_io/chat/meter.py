"""The budget of one rendering of a template that a request sent: CPU time, and the volume of all values it makes."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from time import thread_time
from typing import Any

from jinja2 import Undefined

ELEMENT = 16  # what an element of a list counts for, in characters
DEEPEST = 200  # lists in lists: some operations of Python recurse without a check
LARGEST = 2**64  # of integers: many that are larger share a hash, which makes dicts slow
SEQUENCES: tuple[type[Collection[Any]], ...] = (list, tuple, type({}.keys()), type({}.values()), type({}.items()))
SLACK, FACTOR, MOST = 2**22, 16, 2**26  # a few copies of what a template is given, within a bound


class LimitReached(Exception):  # noqa: N818  it is no fault of the program
    """A template takes more time or memory than it may."""


class OpaqueValueError(TypeError):
    """A value stands where only texts, numbers, lists and dicts may."""


class Meter:
    """The time and volume that are left for one rendering.

    Attributes:
        left: The volume that all values together that are still to be made may have, in characters.
    """

    def __init__(self, seconds: float, longest: int, variables: Mapping[str, Any]) -> None:
        """Start to count.

        Args:
            seconds: The CPU time that the rendering may take.
            longest: The most characters of its result.
            variables: What the template is given: at most a few times as much.

        Raises:
            LimitReached: If the variables are larger.
            OpaqueValueError: If they hold what JSON cannot.
        """
        self._end = thread_time() + seconds
        self.left = SLACK + 2 * longest
        self.left = min(SLACK + FACTOR * self.weigh(variables), MOST)

    def spend(self, volume: int = 0) -> None:
        """Count a step that makes values of some volume.

        Raises:
            LimitReached: If the volume or the time is used up.
        """
        self.left -= volume
        if self.left < 0 or thread_time() >= self._end:
            raise LimitReached

    def made(self, value: Any) -> None:
        """Count a value that was made."""
        self.spend(self.weigh(value))

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        """Yield values, each a step."""
        for value in values:
            self.spend(ELEMENT)
            yield value

    def weigh(self, value: Any) -> int:
        """Return the volume of a value, with all that it holds, as often as it holds it.

        Raises:
            LimitReached: If that is more than is left, or lists are nested too deeply.
            OpaqueValueError: If it is or holds another thing than texts, numbers, lists and dicts.
        """
        volume, waiting = 0, [(value, 0)]
        while waiting:
            one, depth = waiting.pop()
            volume += ELEMENT
            if isinstance(one, str):
                volume += len(one)
            elif isinstance(one, dict):
                waiting.extend((each, depth + 1) for item in one.items() for each in item)
            elif isinstance(one, SEQUENCES):
                waiting.extend((each, depth + 1) for each in one)
            elif isinstance(one, int):
                volume += self.left if abs(one) > LARGEST else 0
            elif not (one is None or isinstance(one, float | range | Undefined)):
                message = f"only texts, numbers, lists and dicts may stand here; got {type(one).__name__}"
                raise OpaqueValueError(message)
            if volume > self.left or depth > DEEPEST:
                raise LimitReached
        return volume
