"""ArchitectureConformance: tests of a model with a tiny checkpoint, and comparison with transformers."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from millpond.llm import LLM
from millpond.nn import PoolingModel
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.model import ModelConformance
from millpond.testing.demands import demand_same
from millpond.types.params import PoolingParams

REFERENCE_SUFFIXES = {
    "token_embed": ("Model", "ForCausalLM"),
    "classify": ("ForSequenceClassification",),
    "token_classify": ("ForTokenClassification",),
}
NO_ACTIVATION = PoolingParams(use_activation=False)


class ArchitectureConformance(ModelConformance):
    """Tests of one architecture.

    Attributes:
        name: The architecture's name, as in ``architectures`` of config.json.
        reference_tolerance: The allowed error relative to the results of transformers.
    """

    kind: ClassVar[str] = "architecture"
    expected_target: ClassVar[str] = "it must be a subclass of millpond.nn.PoolingModel"
    reference_tolerance: ClassVar[float] = 2e-5

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model of the architecture; by default with ``checkpoints.tiny``."""
        return tiny(self.name.rpartition("/")[2], folder)

    def fits(self, target: object) -> bool:
        """Return True if the target is a PoolingModel class."""
        return isinstance(target, type) and issubclass(target, PoolingModel)

    def reference(self, folder: Path, prompts: Sequence[Any], task: str) -> list[NDArray[Any]] | None:
        """Return the results of another implementation for each prompt, without activation; None without one.

        By default this is transformers' class of that name, with hidden states for "token_embed" and with logits for
        "classify" and "token_classify" if the class has such a head.
        """
        name = self.name.rpartition("/")[2]
        model_class = getattr(importlib.import_module("transformers"), name, None)
        if model_class is None or task not in REFERENCE_SUFFIXES or not name.endswith(REFERENCE_SUFFIXES[task]):
            return None
        model = model_class.from_pretrained(folder, dtype=torch.float32).eval()
        part = model.base_model if task == "token_embed" else model
        field = "last_hidden_state" if task == "token_embed" else "logits"
        with torch.inference_mode():
            outputs = [getattr(part(torch.tensor([prompt])), field)[0] for prompt in prompts]
        return [rows.float().numpy() for rows in outputs]

    def test_results_equal_the_reference(self, folder: Path, llm: LLM) -> None:
        """The results equal those of the reference, for each task that the reference supports."""
        prompts, compared = self.prompts(llm), 0
        for task in self.tasks(llm):
            expected = self.reference(folder, prompts, task)
            if expected is None:
                continue
            outputs = llm.encode(list(prompts), NO_ACTIVATION, pooling_task=task, use_tqdm=False)
            for index, (output, reference) in enumerate(zip(outputs, expected, strict=True)):
                what = f"{self.name}, {task!r} of prompt {index} compared with the reference"
                actual = np.asarray(output.outputs.array)
                demand_same(actual, np.asarray(reference, dtype=np.float32), self.reference_tolerance, what)
            compared += 1
        if not compared:
            pytest.skip(f"transformers has no {self.name}: override reference(...) to compare with something else")
