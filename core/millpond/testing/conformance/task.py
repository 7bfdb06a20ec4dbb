"""TaskConformance: what the record of a task names is there, and goes together."""

from typing import ClassVar

from millpond.config import JOINED_BY
from millpond.pipeline import PLUGIN
from millpond.registry import Entry
from millpond.specs import TaskSpec
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

    def faults(self, entry: Entry[TaskSpec]) -> list[str]:
        """IO processor, pooling, activation and the tasks it is made of."""
        spec, registry = entry.spec, self.registry()
        faults = self.unknown_tasks(spec.made_of)
        serving = registry.io_processors.find(spec.io_processor)
        if spec.name != PLUGIN and (serving is None or spec.name not in serving.spec.tasks):
            faults.append(f"its io_processor {spec.io_processor!r} is not there, or does not serve it")
        activation = spec.default_activation
        if activation is not None and activation not in registry.activations:
            faults.append(f"its default_activation {activation!r} is not there")
        nested = [name for name in spec.made_of if name in registry.tasks and registry.tasks.get(name).spec.made_of]
        faults += [f"it is made of {name!r}, which is itself made of others" for name in nested]
        return faults if spec.made_of else [*faults, *self._faults_of_pooling(spec)]

    def _faults_of_pooling(self, spec: TaskSpec) -> list[str]:
        tasks, faults = self.registry().tasks, list[str]()
        for name in spec.default_pooling.split(JOINED_BY):
            pooler = self.registry().poolers.find(name)
            if pooler is None:
                faults.append(f"its default_pooling {name!r} is not there")
            elif spec.per_token not in {tasks.get(task).spec.per_token for task in pooler.spec.tasks if task in tasks}:
                result = "a token" if spec.per_token else "a prompt"
                faults.append(f"its default_pooling {name!r} does not give one result {result}")
        return faults
