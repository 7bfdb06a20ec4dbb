"""OutputComparison: how conformance classes compare the outputs of prompts or items."""

from typing import Any, ClassVar

from millpond.testing.demands import demand_same


class OutputComparison:
    """Compares outputs, which a subclass may convert before.

    Attributes:
        tolerance: The allowed error between the outputs of an input alone and among others, in float32.
    """

    tolerance: ClassVar[float] = 1e-5

    def comparable(self, output: Any) -> object:
        """Return an output in the form in which it is compared; override it to decode bytes to arrays."""
        return output

    def demand_alike(self, actual: object, expected: object, tolerance: float, what: str) -> None:
        """Fail unless two outputs are equal in their comparable form."""
        demand_same(self.comparable(actual), self.comparable(expected), tolerance, what)
