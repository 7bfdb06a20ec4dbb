"""ArchitectureConformance: a model of an architecture, loaded from a tiny checkpoint, and beside transformers."""

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

POSITIONS = ("absolute", "absolute_after_pad", "relative")
WITH_HEAD = {
    "token_embed": ("Model", "ForCausalLM"),
    "classify": ("ForSequenceClassification",),
    "token_classify": ("ForTokenClassification",),
}
BARE = PoolingParams(use_activation=False)


class ArchitectureConformance(ModelConformance):
    """Tests of one architecture.

    Attributes:
        name: The architecture's name, as in ``architectures`` of config.json.
        reference_tolerance: How far results may be from those of transformers.
    """

    kind: ClassVar[str] = "architecture"
    wanted: ClassVar[str] = "it must be a subclass of millpond.nn.PoolingModel"
    reference_tolerance: ClassVar[float] = 2e-5

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model of the architecture; by default ``checkpoints.tiny``."""
        return tiny(self.name.rpartition("/")[2], folder)

    def fits(self, target: object) -> bool:
        """The target is a PoolingModel."""
        return isinstance(target, type) and issubclass(target, PoolingModel)

    def reference(self, folder: Path, prompts: Sequence[Any], task: str) -> list[NDArray[Any]] | None:
        """What another implementation gives for each prompt, without activation; None where there is none.

        By default transformers' class of that name: hidden states for "token_embed", logits for "classify" and
        "token_classify" where its name says that it gives them.
        """
        name = self.name.rpartition("/")[2]
        kind = getattr(importlib.import_module("transformers"), name, None)
        if kind is None or task not in WITH_HEAD or not name.endswith(WITH_HEAD[task]):
            return None
        model = kind.from_pretrained(folder, dtype=torch.float32).eval()
        chosen = model.base_model if task == "token_embed" else model
        field = "last_hidden_state" if task == "token_embed" else "logits"
        with torch.inference_mode():
            found = [getattr(chosen(torch.tensor([prompt])), field)[0] for prompt in prompts]
        return [rows.float().numpy() for rows in found]

    def test_it_gives_what_transformers_gives(self, folder: Path, llm: LLM) -> None:
        """Held against the reference, for each task that it knows."""
        prompts, compared = self.prompts(llm), 0
        for task in self.tasks(llm):
            expected = self.reference(folder, prompts, task)
            if expected is None:
                continue
            outputs = llm.encode(list(prompts), BARE, pooling_task=task, use_tqdm=False)
            for place, (output, one) in enumerate(zip(outputs, expected, strict=True)):
                what = f"{self.name}, {task!r} of prompt {place} beside the reference"
                found = np.asarray(output.outputs.array)
                demand_same(found, np.asarray(one, dtype=np.float32), self.reference_tolerance, what)
            compared += 1
        if not compared:
            pytest.skip(f"transformers has no {self.name}: say what to compare with: def reference(...)")
