"""ConverterConformance: what a converter makes of an architecture is a pooling model, and the architecture stays."""

from pathlib import Path
from typing import ClassVar

from millpond.nn import PoolingModel
from millpond.plugin.registry import Entry
from millpond.plugin.specs import ConverterSpec
from millpond.testing.conformance.model import ModelConformance
from millpond.testing.demands import demand


class ConverterConformance(ModelConformance):
    """Tests of one converter; ``checkpoint`` writes a small model that it is chosen for.

    Attributes:
        name: The converter's name.
    """

    kind: ClassVar[str] = "converter"

    def test_it_is_chosen_and_leaves_the_architecture_as_it_is(self, entry: Entry[ConverterSpec], folder: Path) -> None:
        """The model is loaded by it, and is a PoolingModel; another model of that architecture does not notice."""
        with self.load(folder) as llm:
            resolution, model = llm._loaded.resolution, self.model(llm)  # noqa: SLF001  a test of it looks into it
            chosen = resolution.converter
            served = llm.model_config.tasks
        demand(chosen is not None and chosen.qualified == entry.qualified, f"{folder} is not loaded by {self.name}")
        demand(isinstance(model, PoolingModel), f"{self.name} makes a {type(model).__name__}")
        demand(set(served) == set(entry.spec.tasks), f"{self.name} promises {entry.spec.tasks}; it serves {served}")
        architecture = resolution.architecture.load()
        own = type(architecture.__name__, (architecture,), {})  # which nothing has changed yet
        before = dict(vars(own))
        converted = entry.load()(own, llm.pipeline.ctx)
        demand(dict(vars(own)) == before, f"{self.name} changes {own.__name__}, which others load too")
        right = isinstance(converted, type) and issubclass(converted, PoolingModel)
        demand(right, f"{self.name} must return a subclass of PoolingModel; it returned {converted!r}")
