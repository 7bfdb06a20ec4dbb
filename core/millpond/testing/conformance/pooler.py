"""PoolerConformance: tests that a pooler returns one result per sequence, independent of the rest of the batch."""

import gc
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from millpond.nn import Pooler, PoolingMetadata
from millpond.plugin.registry import Entry
from millpond.plugin.specs import PoolerSpec
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.contexts import bare_context
from millpond.testing.demands import demand, demand_same
from millpond.testing.time_limit import in_threads
from millpond.types.params import PoolingParams

MIXED_LENGTHS = (1, 7, 7, 2, 1, 1, 33, 5)
LONGEST_INDEX = 6
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "bfloat16": 2e-2})
VECTOR_NDIM, MATRIX_NDIM = 1, 2  # the dimensions of results of sequence tasks and of token tasks


class RandomSequence(NamedTuple):
    """The input of a pooler for one sequence: hidden states [length, hidden], token ids [length], parameters."""

    rows: Tensor
    ids: Tensor
    params: PoolingParams


Batch = Sequence[RandomSequence]


class PoolerConformance(RecordConformance):
    """Tests of one pooler, for each task of its record.

    Attributes:
        name: The pooling type.
        config: The content of config.json.
        pooler_config: The fields of ``PoolerConfig``.
        params: The pooling parameters of each sequence.
        hidden_size: The size of the hidden states.
        vocab_size: The size of the vocabulary of random token ids.
        width: The number of values of each row of its results; None for the size declared by its record and ``config``.
        longest: The number of tokens of the longest sequence.
        tolerances: The allowed error for each dtype, relative to the largest value.
        threads: The number of threads that call it concurrently.
    """

    kind: ClassVar[str] = "pooler"
    expected_target: ClassVar[str] = "it must be a subclass of millpond.nn.Pooler"
    config: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    pooler_config: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    params: ClassVar[PoolingParams] = PoolingParams()
    hidden_size: ClassVar[int] = 24
    vocab_size: ClassVar[int] = 8
    width: ClassVar[int | None] = None
    longest: ClassVar[int] = 600
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES
    threads: ClassVar[int] = 4

    def fits(self, target: object) -> bool:
        """Return True if the target is a Pooler class."""
        return isinstance(target, type) and issubclass(target, Pooler)

    def build(self, task: str, *, dtype: str = "float32", batch_invariant: bool = False) -> nn.Module:
        """Build the pooler of a task; override it if the pooler needs the head of a model."""
        per_token = self.registry().tasks.get(task).spec.per_token
        config = {("tok" if per_token else "seq") + "_pooling_type": self.name, **self.pooler_config}
        ctx = bare_context(
            self.registry(),
            tasks=(task,),
            config=self.config,
            pooler_config=config,
            dtype=dtype,
            batch_invariant=batch_invariant,
        )
        return ctx.pooler(task).eval()

    def draw(
        self, lengths: Sequence[int] = MIXED_LENGTHS, *, seed: int = 0, dtype: str = "float32"
    ) -> list[RandomSequence]:
        """Return sequences of random hidden states and token ids."""
        generator = torch.Generator().manual_seed(seed)
        sequences: list[RandomSequence] = []
        for length in lengths:
            rows = torch.randn(length, self.hidden_size, generator=generator).to(getattr(torch, dtype))
            ids = torch.randint(self.vocab_size, (length,), generator=generator)
            sequences.append(RandomSequence(rows, ids, self.params))
        return sequences

    @pytest.fixture
    def tasks(self, entry: Entry[PoolerSpec]) -> tuple[str, ...]:
        """The tasks of the pooler."""
        tasks: tuple[str, ...] = entry.spec.tasks
        return tasks

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_each_sequence_has_one_result(self, tasks: tuple[str, ...]) -> None:
        """The result of a sequence is one vector, or at most one row per token; all values are finite."""
        for task in tasks:
            per_token = self.registry().tasks.get(task).spec.per_token
            for lengths in (MIXED_LENGTHS, (1,), (1, 1, 1), (self.longest,), (self.longest, 1)):
                for length, output in zip(lengths, self.pool(self.build(task), self.draw(lengths)), strict=True):
                    what = f"{self.name} for {task!r} and {length} tokens in a batch of {list(lengths)}"
                    ndim = MATRIX_NDIM if per_token else VECTOR_NDIM
                    valid = output.dim() == ndim and not (per_token and len(output) > length)
                    demand(valid, f"{what} returns the shape {list(output.shape)}")
                    demand(bool(torch.isfinite(output).all()), f"{what} returns NaN or infinity")

    def test_rows_have_the_declared_size(self, entry: Entry[PoolerSpec], tasks: tuple[str, ...]) -> None:
        """Rows have the size of hidden states, or the size that ``size_key`` of the record declares."""
        key = entry.spec.size_key
        for task in tasks:
            pooler = self.build(task)
            stated = self.hidden_size if key is None else self.config.get(key)
            width = self.width or (stated if getattr(pooler, "head", None) is None or key is not None else None)
            for output in self.pool(pooler, self.draw()):
                what = f"{self.name} for {task!r} returns rows of {output.shape[-1]} values"
                demand(width is None or output.shape[-1] == width, f"{what}; its record declares {width}")

    def test_order_is_kept(self, tasks: tuple[str, ...]) -> None:
        """Sequences in reverse order have the same results in reverse order."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            forward, backward = self.pool(pooler, batch), self.pool(pooler, batch[::-1])[::-1]
            for index, (output, expected) in enumerate(zip(backward, forward, strict=True)):
                demand_same(output, expected, self.tolerances["float32"], f"{self.name}, sequence {index} in reverse")

    @pytest.mark.parametrize("batch_invariant", [False, True])
    def test_sequences_are_independent(self, tasks: tuple[str, ...], batch_invariant: bool) -> None:
        """A sequence has the same result alone, among others, and among huge values; bit for bit if requested."""
        tolerance = 0.0 if batch_invariant else self.tolerances["float32"]
        for task in tasks:
            pooler = self.build(task, batch_invariant=batch_invariant)
            self.demand_independent(pooler, self.draw(), tolerance)
            self.demand_independent(pooler, self.draw((self.longest, 1, 64, 65)), tolerance)

    def test_sequences_have_their_own_parameters(self, tasks: tuple[str, ...]) -> None:
        """Sequences of one batch may have different parameters."""
        options = [{"use_activation": use, "dimensions": size} for use in (None, True, False) for size in (None, 5)]
        for task in tasks:
            batch = [
                sequence._replace(params=self.params.model_copy(update=options[index % len(options)]))
                for index, sequence in enumerate(self.draw())
            ]
            self.demand_independent(self.build(task), batch, self.tolerances["float32"])

    def test_only_the_span_is_pooled(self, tasks: tuple[str, ...]) -> None:
        """If only a span of a prompt is pooled, tokens outside of the span do not affect the result."""
        span = (2, 6)
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            longest = batch[LONGEST_INDEX]
            (expected,) = self.pool(pooler, [longest], spans=[span])
            rows = torch.full_like(longest.rows, torch.nan)
            rows[span[0] : span[1]] = longest.rows[span[0] : span[1]]
            batch[LONGEST_INDEX] = longest._replace(rows=rows)
            spans = [span if index == LONGEST_INDEX else None for index in range(len(batch))]
            output = self.pool(pooler, batch, spans=spans)[LONGEST_INDEX]
            demand_same(output, expected, self.tolerances["float32"], f"{self.name}, tokens 2 to 5 of a prompt")

    def test_other_dtypes_are_close(self, tasks: tuple[str, ...]) -> None:
        """Results for hidden states in other dtypes are close to those in float32."""
        for task in tasks:
            for dtype, tolerance in self.tolerances.items():
                rounded = self.draw(dtype=dtype)
                float32 = [sequence._replace(rows=sequence.rows.float()) for sequence in rounded]
                expected = self.pool(self.build(task), float32)
                for output, reference in zip(self.pool(self.build(task, dtype=dtype), rounded), expected, strict=True):
                    what = f"{self.name} in {dtype} compared with float32"
                    demand_same(output.float(), reference.float(), tolerance, what)

    def test_nan_is_kept_in_its_sequence(self, tasks: tuple[str, ...]) -> None:
        """NaN appears in the result of its own sequence and in no other, so that the engine can reject it."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            clean = self.pool(pooler, batch)
            longest = batch[LONGEST_INDEX]
            batch[LONGEST_INDEX] = longest._replace(rows=torch.full_like(longest.rows, torch.nan))
            outputs = self.pool(pooler, batch)
            demand(not torch.isfinite(outputs[LONGEST_INDEX]).all(), f"{self.name} returns finite numbers for NaN")
            for index in set(range(len(batch))) - {LONGEST_INDEX}:
                what = f"{self.name}, sequence {index} next to NaN"
                demand_same(outputs[index], clean[index], self.tolerances["float32"], what)

    # --- how it behaves -----------------------------------------------------------------------------------------------

    def test_hidden_states_are_not_changed(self, tasks: tuple[str, ...]) -> None:
        """The hidden states are not written to: several poolers may read them."""
        for task in tasks:
            batch = self.draw()
            rows = torch.cat([sequence.rows for sequence in batch])
            hidden_states = rows.clone()
            with torch.inference_mode():
                self.build(task)(hidden_states, metadata_of(batch))
            demand(torch.equal(hidden_states, rows), f"{self.name} writes into the hidden states")

    def test_no_batch_is_kept(self, tasks: tuple[str, ...]) -> None:
        """The pooler keeps neither gradients nor hidden states, which would leak memory and mix threads."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            rows = torch.cat([sequence.rows for sequence in batch])
            with torch.inference_mode():
                outputs = list(pooler(rows, metadata_of(batch)))
            demand(not any(output.requires_grad for output in outputs), f"{self.name} keeps gradients")
            reference = weakref.ref(rows)
            del rows, outputs
            gc.collect()
            demand(reference() is None, f"{self.name} keeps the hidden states of its last batch")

    def test_several_threads_may_call_it(self, tasks: tuple[str, ...]) -> None:
        """Concurrent calls return the same results: each worker of the engine computes a batch."""
        for task in tasks:
            pooler = self.build(task)
            batches = [self.draw(MIXED_LENGTHS[: 3 + seed % 5], seed=seed) for seed in range(16)]
            expected = [self.pool(pooler, batch) for batch in batches]
            outputs = in_threads(partial(self.pool, pooler), batches, self.threads)
            demand_same(outputs, expected, self.tolerances["float32"], f"{self.name}, in several threads")

    def test_state_can_be_saved_and_loaded(self, tasks: tuple[str, ...]) -> None:
        """A pooler with the saved state of another returns the same results."""
        for task in tasks:
            saved, loaded = self.build(task), self.build(task)
            with torch.no_grad():
                for parameter in saved.parameters():
                    parameter.copy_(torch.randn(parameter.shape))
            loaded.load_state_dict(saved.state_dict())
            batch = self.draw()
            demand_same(self.pool(loaded, batch), self.pool(saved, batch), 0.0, f"{self.name}, with loaded state")

    # --- helpers ------------------------------------------------------------------------------------------------------

    def pool(self, pooler: nn.Module, batch: Batch, *, spans: Sequence[tuple[int, int] | None] = ()) -> list[Tensor]:
        """Return the result of each sequence; fails unless the number of results is right."""
        hidden, metadata = torch.cat([sequence.rows for sequence in batch]), metadata_of(batch)
        rows, selected = metadata.select(range(len(batch)), metadata.params, spans)
        with torch.inference_mode():
            outputs = list(pooler(hidden if rows is None else hidden[rows], selected))
        demand(len(outputs) == len(batch), f"{self.name} returns {len(outputs)} results for {len(batch)} sequences")
        return outputs

    def demand_independent(self, pooler: nn.Module, batch: Batch, tolerance: float) -> None:
        """Fail unless each sequence has the same result alone, among others, and among huge values."""
        lengths = [len(sequence.rows) for sequence in batch]
        huge = [sequence._replace(rows=sequence.rows * 1e3) for sequence in batch]
        together = self.pool(pooler, batch)
        for index, sequence in enumerate(batch):
            (alone,) = self.pool(pooler, [sequence])
            among_huge = self.pool(pooler, [*huge[:index], sequence, *huge[index + 1 :]])[index]
            for output, others in ((together[index], "others"), (among_huge, "huge values")):
                what = f"{self.name}, sequence {index} of {lengths} among {others} compared with alone"
                demand_same(output, alone, tolerance, what)


def metadata_of(batch: Batch) -> PoolingMetadata:
    """Return the metadata of a batch."""
    return PoolingMetadata(
        lengths=tuple(len(sequence.rows) for sequence in batch),
        input_ids=torch.cat([sequence.ids for sequence in batch]),
        params=tuple(sequence.params for sequence in batch),
    )
