"""ConverterConformance: tests that a converter returns a pooling model class and does not change its input."""

from pathlib import Path
from typing import ClassVar

from millpond.nn import PoolingModel
from millpond.plugin.registry import Entry
from millpond.plugin.specs import ConverterSpec
from millpond.testing.conformance.model import ModelConformance
from millpond.testing.demands import demand


class ConverterConformance(ModelConformance):
    """Tests of one converter; ``checkpoint`` must write a small model for which it is chosen automatically.

    Attributes:
        name: The converter's name.
    """

    kind: ClassVar[str] = "converter"

    def test_it_is_chosen_and_does_not_change_the_architecture(self, entry: Entry[ConverterSpec], folder: Path) -> None:
        """The model is loaded with the converter and is a PoolingModel; the class of the architecture is unchanged."""
        with self.load(folder) as llm:
            layers, model = llm._loaded.layers, self.model(llm)  # noqa: SLF001  no public attribute has it
            used = layers.converter
            tasks = llm.model_config.tasks
        demand(used is not None and used.qualified == entry.qualified, f"{self.name} is not chosen for {folder}")
        demand(isinstance(model, PoolingModel), f"{self.name} returns a {type(model).__name__}, not a PoolingModel")
        demand(set(tasks) == set(entry.spec.tasks), f"{self.name} declares {entry.spec.tasks}; the model has {tasks}")
        architecture = layers.architecture.load()
        subclass = type(architecture.__name__, (architecture,), {})  # the original may have been changed above
        before = dict(vars(subclass))
        converted = entry.load()(subclass, llm.pipeline.ctx)
        demand(dict(vars(subclass)) == before, f"{self.name} changes {subclass.__name__}, which other models share")
        is_model = isinstance(converted, type) and issubclass(converted, PoolingModel)
        demand(is_model, f"{self.name} must return a subclass of PoolingModel; it returned {converted!r}")
