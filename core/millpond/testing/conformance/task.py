"""TaskConformance: what the record of a task names is there, and goes together."""

from typing import ClassVar

from millpond.testing.conformance.record import RecordConformance


class TaskConformance(RecordConformance):
    """Tests of one task: its record. What it computes is tested with poolers, IO processors and architectures.

    Attributes:
        name: The task's name.
    """

    kind: ClassVar[str] = "task"
    wanted: ClassVar[str] = "it must be the type of an output"

    def fits(self, target: object) -> bool:
        """The target is a type."""
        return isinstance(target, type)
