"""TaskConformance: tests of the record of a task."""

from typing import ClassVar

from millpond.model.layers import Layer, Layers
from millpond.model.pooler_settings import task_pooling
from millpond.plugin.registry import Entry
from millpond.plugin.specs import TaskSpec
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand


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

    def test_checkpoints_do_not_replace_its_pooling(self, entry: Entry[TaskSpec]) -> None:
        """A pooling type that a checkpoint specifies, and whose record does not list the task, is not used for it."""
        spec, registry = entry.spec, self.registry()
        others = [it.spec for it in registry.poolers.entries() if spec.name not in it.spec.tasks]
        for other in others if spec.default_pooling is not None and not spec.derived_from else ():
            files = Layers((Layer("files", {f"pooler_config.{spec.pooling_key}": other.name}),))
            pooling = task_pooling(registry, files, spec)
            what = f"a checkpoint with {other.name} pools {spec.name!r} by {pooling}"
            demand(pooling == spec.default_pooling, f"{what}; its default_pooling is {spec.default_pooling}")
