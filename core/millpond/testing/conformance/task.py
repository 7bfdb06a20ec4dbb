"""TaskConformance: tests of the record of a task."""

from typing import ClassVar

from millpond.testing.conformance.record import RecordConformance


class TaskConformance(RecordConformance):
    """Tests of the record of one task; its results are tested with poolers, IO processors and architectures.

    Attributes:
        name: The task's name.
    """

    kind: ClassVar[str] = "task"
    expected_target: ClassVar[str] = "it must be the type of an output"

    def fits(self, target: object) -> bool:
        """Return True if the target is a type."""
        return isinstance(target, type)
