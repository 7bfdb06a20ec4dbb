"""ModelConformance: tests of a model that any architecture or converter must pass."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond.llm import LLM
from millpond.nn import PoolingModel
from millpond.pipeline.bound_task import PLUGIN
from millpond.testing.conformance.outputs import OutputComparison
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond.types.config import JOINED_BY
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond.types.outputs import PoolingOutput

MIXED_LENGTHS = (7, 1, 7, 2, 1, 33, 5)
MAX_PROMPTS_ALIKE, TOKENS_ALIKE = 6, 20  # of prompts that begin with the same tokens
WEIGHTS_FILE = "model.safetensors"
MAX_REMOVED_TENSORS = 3  # one tensor is removed from the checkpoint at a time


class ModelConformance(OutputComparison, RecordConformance):
    """Tests of a model that is loaded from a small checkpoint, for all its tasks.

    Attributes:
        arguments: Arguments of ``LLM`` besides the model.
        reads_tokens: True if its prompts are token ids; otherwise override ``prompts``.
        bfloat16: The allowed error of results in bfloat16; None if the model does not support bfloat16.
    """

    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    reads_tokens: ClassVar[bool] = True
    bfloat16: ClassVar[float | None] = 0.15

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model with random weights in one ``model.safetensors``, and return its folder."""
        pytest.fail(f"override checkpoint(self, folder) to write a small checkpoint for {self.name} to {folder}")

    def prompts(self, llm: LLM) -> Sequence[object]:
        """Return prompts of mixed lengths, including the longest that the model accepts."""
        generator = torch.Generator().manual_seed(0)
        config = llm.model_config
        lengths = [min(length, config.max_model_len) for length in (*MIXED_LENGTHS, config.max_model_len)]
        size = config.hf_config.vocab_size
        first = size // 4  # lower ids may be special tokens, such as padding
        return [torch.randint(first, size, (length,), generator=generator).tolist() for length in lengths]

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The folder of the small checkpoint."""
        return self.checkpoint(tmp_path / "model")

    @pytest.fixture
    def llm(self, folder: Path) -> Iterator[LLM]:
        """The loaded model."""
        with self.load(folder) as llm:
            yield llm

    def load(self, folder: Path, **arguments: Any) -> LLM:
        """Load the model with additional arguments."""
        options: dict[str, Any] = {"num_workers": 1, **self.arguments, **arguments}
        return LLM(str(folder), plugins=self.plugins(), **options)

    def ask(self, llm: LLM, prompts: Sequence[object], task: str) -> list[object]:
        """Return the comparable output of each prompt for a task."""
        outputs = llm.encode(list(prompts), pooling_task=task, use_tqdm=False)
        return [self.comparable(output.outputs) for output in outputs]

    def tasks(self, llm: LLM) -> list[str]:
        """Return the tasks of the model that are not derived from other tasks, and that accept ``prompts``.

        Unless ``prompts`` is overridden, tasks of plugins are left out if their IO processor accepts no token ids.
        """
        tasks = [task for task in llm.supported_tasks if not self.registry().tasks.get(task).spec.derived_from]
        if type(self).prompts is not ModelConformance.prompts:
            return tasks
        return [task for task in tasks if self._reads_ids(llm, task)]

    def _reads_ids(self, llm: LLM, task: str) -> bool:
        entry = self.registry().tasks.get(task)
        if entry.origin.rank == "builtin" and task != PLUGIN:
            return True
        try:
            self.ask(llm, self.prompts(llm)[:1], task)
        except InvalidInputError:
            return False
        return True

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_each_prompt_has_one_output_in_order(self, llm: LLM) -> None:
        """Prompts in one call, in any order, have the same outputs as each prompt alone."""
        prompts = self.prompts(llm)
        demand(bool(self.tasks(llm)), f"{self.name} has no task: {llm.supported_tasks}")
        for task in self.tasks(llm):
            alone = [self.ask(llm, [prompt], task)[0] for prompt in prompts]
            calls = {
                "among others": self.ask(llm, prompts, task),
                "in reverse": self.ask(llm, prompts[::-1], task)[::-1],
            }
            for order, outputs in calls.items():
                counts = f"{len(outputs)} outputs for {len(prompts)} prompts"
                demand(len(outputs) == len(prompts), f"{self.name} returns {counts}")
                for index, output in enumerate(outputs):
                    what = f"{self.name}, {task!r} of prompt {index}, {order} compared with alone"
                    demand_same(output, alone[index], self.tolerance, what)

    def test_prompts_that_begin_alike_have_the_outputs_of_each_alone(self, llm: LLM) -> None:
        """A decoder may compute the tokens with which all prompts of a call begin only once."""
        tails = [list(prompt) for prompt in self.prompts(llm) if isinstance(prompt, list)][:MAX_PROMPTS_ALIKE]
        if not tails:
            pytest.skip(f"{self.name} reads no token ids")
        head, longest = max(tails, key=len)[:TOKENS_ALIKE], llm.model_config.max_model_len
        prompts = [[*head, *tail][:longest] for tail in tails]
        for task in self.tasks(llm):
            for index, output in enumerate(self.ask(llm, prompts, task)):
                what = f"{self.name}, {task!r} of prompt {index}, compared with alone"
                demand_same(output, self.ask(llm, [prompts[index]], task)[0], self.tolerance, what)

    def test_outputs_have_the_declared_size(self, llm: LLM) -> None:
        """Embeddings have the model's embedding size, and classifications have one value per label."""
        config = llm.model_config
        sizes = {"embed": config.embedding_size, "classify": config.classification.num_labels}
        for task in set(self.tasks(llm)) & set(sizes):
            expected = sizes[task]
            for index, output in enumerate(self.ask(llm, self.prompts(llm), task)):
                shape = output.array.shape if isinstance(output, PoolingOutput) and output.array.ndim else None
                matches = shape is None or expected is None or shape[-1] == expected
                what = f"{self.name}, {task!r} of prompt {index}"
                demand(matches, f"{what}, has the shape {shape}, but the model declares {expected} values")

    def test_each_task_has_its_own_pooling(self, llm: LLM) -> None:
        """The pooling type of a task is its ``default_pooling``, or one whose record lists the task."""
        ctx = llm.pipeline.ctx
        for task in set(self.tasks(llm)) & set(ctx.tasks):
            default, used = self.registry().tasks.get(task).spec.default_pooling, ctx.pooling_type(task)
            unfit = [name for name in used.split(JOINED_BY) if task not in ctx.registry.poolers.get(name).spec.tasks]
            what = f"{self.name} pools {task!r} by {used}, whose record does not list the task"
            demand(default in (None, used) or not unfit, f"{what}; its default_pooling is {default}")

    def test_batches_may_be_small(self, folder: Path, llm: LLM) -> None:
        """The limits of a batch do not change the results."""
        prompts = self.prompts(llm)
        with self.load(folder, max_num_batched_tokens=16, max_num_seqs=2) as small:
            for task in self.tasks(llm):
                actual, expected = self.ask(small, prompts, task), self.ask(llm, prompts, task)
                demand_same(actual, expected, self.tolerance, f"{self.name}, {task!r} in small batches")

    def test_results_are_batch_invariant(self, folder: Path) -> None:
        """With ``batch_invariant=True``, a prompt has the same output alone and among others, bit for bit."""
        with self.load(folder, batch_invariant=True) as llm:
            prompts = self.prompts(llm)
            for task in self.tasks(llm):
                together = self.ask(llm, prompts, task)
                for index, prompt in enumerate(prompts):
                    what = f"{self.name}, batch_invariant, {task!r} of prompt {index} among others compared with alone"
                    demand_same(together[index], self.ask(llm, [prompt], task)[0], 0.0, what)

    def test_the_maximum_length_is_enforced(self, llm: LLM) -> None:
        """A prompt of the maximum length is accepted, and a longer prompt is rejected."""
        if not self.reads_tokens:
            pytest.skip(f"{self.name} reads no token ids")
        longest = llm.model_config.max_model_len
        for task in self.tasks(llm):
            demand(len(self.ask(llm, [[1] * longest], task)) == 1, f"{self.name} rejects {longest} tokens")
            with pytest.raises(InvalidInputError):
                self.ask(llm, [[1] * (longest + 1)], task)

    def test_bfloat16_is_close(self, folder: Path, llm: LLM) -> None:
        """Results in bfloat16 are close to those in float32."""
        if self.bfloat16 is None:
            pytest.skip(f"{self.name} does not support bfloat16")
        prompts = self.prompts(llm)
        with self.load(folder, dtype="bfloat16") as rounded:
            for task in self.tasks(llm):
                actual, expected = self.ask(rounded, prompts, task), self.ask(llm, prompts, task)
                what = f"{self.name}, {task!r} in bfloat16 compared with float32"
                demand_same(actual, expected, self.bfloat16, what)

    # --- the weights --------------------------------------------------------------------------------------------------

    def test_all_parameters_are_loaded_without_gradients(self, llm: LLM) -> None:
        """Each parameter has values from the checkpoint and does not require gradients."""
        for name, parameter in self.model(llm).named_parameters():
            demand(not parameter.is_meta, f"{self.name}: {name} is not loaded")
            demand(not parameter.requires_grad, f"{self.name}: {name} requires gradients")

    def test_a_checkpoint_with_wrong_tensors_is_rejected(self, folder: Path, llm: LLM) -> None:
        """Loading fails if a tensor is missing, unknown, or has a wrong shape."""
        tensors = load_file(folder / WEIGHTS_FILE)
        needed = [name for name in tensors if self.model(llm).parameter_name(name) is not None]
        for removed in needed[:: max(len(needed) // MAX_REMOVED_TENSORS, 1)]:
            rest = {name: tensor for name, tensor in tensors.items() if name != removed}
            self.demand_rejected(folder, rest, f"a checkpoint without {removed}")
            longer = torch.zeros(tensors[removed].shape[0] + 1, *tensors[removed].shape[1:])
            self.demand_rejected(folder, {**tensors, removed: longer}, f"{removed} with an additional row")
        self.demand_rejected(folder, {**tensors, "no_such.weight": torch.zeros(2)}, "an unknown tensor")

    def demand_rejected(self, folder: Path, tensors: Mapping[str, torch.Tensor], what: str) -> None:
        """Fail unless loading the weights fails."""
        save_file(dict(tensors), folder / WEIGHTS_FILE, metadata={"format": "pt"})
        try:
            self.load(folder).close()
        except CheckpointError:
            return
        pytest.fail(f"{self.name} loads {what}")

    def model(self, llm: LLM) -> PoolingModel:
        """Return the model of an ``LLM``."""
        return llm._loaded.model  # noqa: SLF001  no public attribute has it
