"""ModelConformance: what every model must do, whichever record brings it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond.llm import LLM
from millpond.nn import PoolingModel
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond.types.outputs import ArrayOutput

MIXED = (7, 1, 7, 2, 1, 33, 5)
WEIGHTS = "model.safetensors"
LOST = 3  # tensors that are taken out of the checkpoint, one after the other


class ModelConformance(RecordConformance):
    """Tests of a model that is loaded from a small checkpoint and asked for all that it serves.

    Attributes:
        arguments: What ``LLM`` is to be told beside the model.
        reads_tokens: Whether its prompts are token ids; if not, ``prompts`` says what they are.
        tolerance: How far the results of a prompt alone and among others may be apart, in float32.
        bfloat16: How far results in bfloat16 may be from those in float32; None if it does not compute in it.
    """

    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    reads_tokens: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5
    bfloat16: ClassVar[float | None] = 0.15

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model with random weights in one ``model.safetensors``, and return its folder."""
        pytest.fail(
            f"say how a small checkpoint for {self.name} is written: def checkpoint(self, folder), see {folder}"
        )

    def prompts(self, llm: LLM) -> Sequence[object]:
        """Prompts of mixed sizes, the longest that the model takes among them."""
        generator = torch.Generator().manual_seed(0)
        config = llm.model_config
        lengths = [min(length, config.max_model_len) for length in (*MIXED, config.max_model_len)]
        size = config.hf_config.vocab_size
        first = size // 4  # special tokens, such as the one for padding, stand before
        return [torch.randint(first, size, (length,), generator=generator).tolist() for length in lengths]

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The small checkpoint."""
        return self.checkpoint(tmp_path / "model")

    @pytest.fixture
    def llm(self, folder: Path) -> Iterator[LLM]:
        """The model, loaded."""
        with self.load(folder) as llm:
            yield llm

    def load(self, folder: Path, **arguments: Any) -> LLM:
        """The model with further arguments."""
        options: dict[str, Any] = {"num_workers": 1, **self.arguments, **arguments}
        return LLM(str(folder), plugins=self.plugins(), **options)

    def ask(self, llm: LLM, prompts: Sequence[object], task: str) -> list[object]:
        """What the model gives for a task, an output a prompt."""
        outputs = llm.encode(list(prompts), pooling_task=task, use_tqdm=False)
        return [self.comparable(output.outputs) for output in outputs]

    def comparable(self, output: Any) -> object:
        """An output as it is compared. Override it to decode bytes to arrays, which are held to ``tolerance``."""
        return output

    def tasks(self, llm: LLM) -> list[str]:
        """The tasks it serves by poolers of its own, or by an IO processor."""
        return [task for task in llm.supported_tasks if not self.registry().tasks.get(task).spec.derived_from]

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_one_output_a_prompt_in_order(self, llm: LLM) -> None:
        """Prompts together, in reverse, and in batches of other sizes, have the outputs that each has alone."""
        prompts = self.prompts(llm)
        demand(bool(self.tasks(llm)), f"{self.name} serves no task: {llm.supported_tasks}")
        for task in self.tasks(llm):
            alone = [self.ask(llm, [prompt], task)[0] for prompt in prompts]
            ways = {
                "among others": self.ask(llm, prompts, task),
                "in reverse": self.ask(llm, prompts[::-1], task)[::-1],
            }
            for how, found in ways.items():
                demand(len(found) == len(prompts), f"{self.name} gives {len(found)} for {len(prompts)} prompts")
                for place, output in enumerate(found):
                    what = f"{self.name}, {task!r} of prompt {place} {how} beside alone"
                    demand_same(output, alone[place], self.tolerance, what)

    def test_results_have_the_stated_width(self, llm: LLM) -> None:
        """Embeddings have as many values as the model states, and classes as many as there are labels."""
        config = llm.model_config
        widths = {"embed": config.embedding_size, "classify": config.classification.num_labels}
        for task in set(self.tasks(llm)) & set(widths):
            expected = widths[task]
            for place, output in enumerate(self.ask(llm, self.prompts(llm), task)):
                found = output.array.shape if isinstance(output, ArrayOutput) and output.array.ndim else None
                right = found is None or expected is None or found[-1] == expected
                what = f"{self.name}, {task!r} of prompt {place}"
                demand(right, f"{what}, has the shape {found}, where the model states {expected} values")

    def test_batches_may_be_small(self, folder: Path, llm: LLM) -> None:
        """Budgets of a batch change no result."""
        prompts = self.prompts(llm)
        with self.load(folder, max_num_batched_tokens=16, max_num_seqs=2) as small:
            for task in self.tasks(llm):
                found, expected = self.ask(small, prompts, task), self.ask(llm, prompts, task)
                demand_same(found, expected, self.tolerance, f"{self.name}, {task!r} in small batches")

    def test_batch_mates_do_not_matter_to_the_bit(self, folder: Path) -> None:
        """With ``batch_invariant=True``, a prompt alone and among others has the same output."""
        with self.load(folder, batch_invariant=True) as llm:
            prompts = self.prompts(llm)
            for task in self.tasks(llm):
                together = self.ask(llm, prompts, task)
                for place, prompt in enumerate(prompts):
                    what = f"{self.name}, batch_invariant, {task!r} of prompt {place} among others beside alone"
                    demand_same(together[place], self.ask(llm, [prompt], task)[0], 0.0, what)

    def test_the_longest_prompt_and_one_more(self, llm: LLM) -> None:
        """A prompt of as many tokens as the model takes is served, a longer one is refused."""
        if not self.reads_tokens:
            pytest.skip(f"{self.name} reads no token ids")
        longest = llm.model_config.max_model_len
        for task in self.tasks(llm):
            demand(len(self.ask(llm, [[1] * longest], task)) == 1, f"{self.name} does not serve {longest} tokens")
            with pytest.raises(InvalidInputError):
                self.ask(llm, [[1] * (longest + 1)], task)

    def test_bfloat16_is_close(self, folder: Path, llm: LLM) -> None:
        """The model computes in bfloat16 too, and what it gives is close to what it gives in float32."""
        if self.bfloat16 is None:
            pytest.skip(f"{self.name} does not compute in bfloat16")
        prompts = self.prompts(llm)
        with self.load(folder, dtype="bfloat16") as rounded:
            for task in self.tasks(llm):
                found, expected = self.ask(rounded, prompts, task), self.ask(llm, prompts, task)
                demand_same(found, expected, self.bfloat16, f"{self.name}, {task!r} in bfloat16 beside float32")

    # --- the weights --------------------------------------------------------------------------------------------------

    def test_all_parameters_are_loaded_and_keep_no_gradient(self, llm: LLM) -> None:
        """Each has a value from the checkpoint, and none is trained."""
        for name, parameter in self.model(llm).named_parameters():
            demand(not parameter.is_meta, f"{self.name}: {name} has no value")
            demand(not parameter.requires_grad, f"{self.name}: {name} keeps a gradient")

    def test_a_checkpoint_that_does_not_fit_is_refused(self, folder: Path, llm: LLM) -> None:
        """A tensor that is missing, one too many, and one of another shape are told of when the model is loaded."""
        tensors = load_file(folder / WEIGHTS)
        needed = [name for name in tensors if self.model(llm).parameter_name(name) is not None]
        for lost in needed[:: max(len(needed) // LOST, 1)]:
            rest = {name: tensor for name, tensor in tensors.items() if name != lost}
            self.demand_refused(folder, rest, f"a checkpoint without {lost}")
            longer = torch.zeros(tensors[lost].shape[0] + 1, *tensors[lost].shape[1:])
            self.demand_refused(folder, {**tensors, lost: longer}, f"{lost} with a row too many")
        self.demand_refused(folder, {**tensors, "no_such.weight": torch.zeros(2)}, "a tensor that is not its own")

    def demand_refused(self, folder: Path, tensors: Mapping[str, torch.Tensor], what: str) -> None:
        """Demand that weights are refused."""
        save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
        try:
            self.load(folder).close()
        except CheckpointError:
            return
        pytest.fail(f"{self.name} takes {what}")

    def model(self, llm: LLM) -> PoolingModel:
        """The model within."""
        return llm._loaded.model  # noqa: SLF001  a test of it looks into it
