"""TextStepConformance: tests of a text step: results do not depend on other prompts, calls or threads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from millpond.llm import LLM
from millpond.plugin.registry import Entry
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond.testing.time_limit import in_threads
from millpond_text.kinds import TextStep, TextStepSpec

NUM_THREADS = 4
ROUNDS = 8
TOKEN_IDS = [2, 7, 9, 3]


class TextStepConformance(RecordConformance):
    """Tests of one text step with a small model that uses it.

    Attributes:
        name: The name of the step.
        architecture: The architecture of the model.
        task: The task whose results are compared.
        texts: Texts of different lengths that the step changes or accepts.
    """

    kind: ClassVar[str] = "text_step"
    expected_target: ClassVar[str] = "it must be a TextStep class, or a function of TaskContext that returns one"
    architecture: ClassVar[str] = "BertModel"
    task: ClassVar[str] = "embed"
    texts: ClassVar[Sequence[str]] = ("The old Mill", "a cup of tea by the river", "Tea!", "two  spaces, and the wind")

    @pytest.fixture
    def llm(self, entry: Entry[TextStepSpec], tmp_path: Path) -> Iterator[LLM]:
        """A model that uses the step and returns equal bits in every batch."""
        folder = str(tiny(self.architecture, tmp_path / "model"))
        arguments: dict[str, Any] = {"batch_invariant": True, "num_workers": 1, "plugins": self.plugins()}
        with LLM(folder, text_steps=(entry.spec.name,), **arguments) as llm:
            yield llm

    def test_results_do_not_depend_on_other_prompts(self, llm: LLM) -> None:
        """Each text alone, and all in another order, have the results that they have in one call."""
        together = self._results(llm, self.texts)
        for text, expected in zip(self.texts, together, strict=True):
            (alone,) = self._results(llm, [text])
            demand_same(alone, expected, 0.0, f"{self.name}: the result of {text!r} alone")
        reversed_results = self._results(llm, self.texts[::-1])
        for text, actual, expected in zip(self.texts[::-1], reversed_results, together[::-1], strict=True):
            demand_same(actual, expected, 0.0, f"{self.name}: the result of {text!r} in another order")

    def test_sequences_do_not_depend_on_other_threads(self, llm: LLM) -> None:
        """Several threads that encode at the same time get the token ids that each text has alone."""
        task = llm.pipeline.bind(self.task)

        def token_ids(text: str) -> list[list[int]]:
            (job,) = task.encode([0], task.items([text]))
            return [sequence.input_ids.tolist() for sequence in job.sequences]

        expected = [token_ids(text) for text in self.texts]
        actual = in_threads(token_ids, list(self.texts) * ROUNDS, NUM_THREADS)
        demand(actual == expected * ROUNDS, f"{self.name} returns the token ids of another text, with several threads")

    def test_token_ids_are_accepted_or_refused(self, llm: LLM) -> None:
        """A prompt of token ids has a result or a clear error: a step sees it without a text."""
        (output,) = llm.encode({"prompt_token_ids": TOKEN_IDS}, pooling_task=self.task, on_error="return")
        error = output.error
        demand(
            error is None or type(error).__name__ == "InvalidInputError",
            f"{self.name} fails for a prompt of token ids: {error}",
        )

    def fits(self, target: object) -> bool:
        """Return True for a class of steps, or a function that returns one."""
        return issubclass(target, TextStep) if isinstance(target, type) else callable(target)

    def _results(self, llm: LLM, texts: Sequence[str]) -> list[Any]:
        outputs = llm.encode(list(texts), pooling_task=self.task, use_tqdm=False)
        return [output.outputs for output in outputs]
