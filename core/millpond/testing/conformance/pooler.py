"""PoolerConformance: a pooler gives each sequence a result of its own, whatever shares its batch."""

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

MIXED = (1, 7, 7, 2, 1, 1, 33, 5)
LONG = 6  # the place of the longest of these
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "bfloat16": 2e-2})
ROW, ROWS = 1, 2  # the dimensions of a result of a prompt, and of one of tokens


class Drawn(NamedTuple):
    """A sequence as a pooler sees it: hidden states [length, hidden], token ids [length], and what is asked."""

    rows: Tensor
    ids: Tensor
    params: PoolingParams


Batch = Sequence[Drawn]


class PoolerConformance(RecordConformance):
    """Tests of one pooler, for each task of its record.

    Attributes:
        name: The pooling type.
        config: What config.json is to hold for it.
        pooler_config: What is to be set of ``PoolerConfig`` for it.
        params: What is asked of each sequence.
        hidden_size: The dimensions of the hidden states.
        vocab_size: Token ids are drawn below it.
        width: The values of a row of its results; None for what its record and ``config`` state, where the model gives
            it no head.
        longest: The tokens of the longest sequence.
        tolerances: For each dtype, how far two ways to the same result may be apart, in units of the largest value.
        threads: How many threads call it at a time.
    """

    kind: ClassVar[str] = "pooler"
    wanted: ClassVar[str] = "it must be a subclass of millpond.nn.Pooler"
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
        """The target is a Pooler."""
        return isinstance(target, type) and issubclass(target, Pooler)

    def build(self, task: str, *, dtype: str = "float32", deterministic: bool = False) -> nn.Module:
        """The pooler of a task as a model builds it. Override it where the model gives it a head."""
        per_token = self.registry().tasks.get(task).spec.per_token
        config = {("tok" if per_token else "seq") + "_pooling_type": self.name, **self.pooler_config}
        ctx = bare_context(
            self.registry(),
            tasks=(task,),
            config=self.config,
            pooler_config=config,
            dtype=dtype,
            batch_invariant=deterministic,
        )
        return ctx.pooler(task).eval()

    def draw(self, lengths: Sequence[int] = MIXED, *, seed: int = 0, dtype: str = "float32") -> list[Drawn]:
        """Sequences of random hidden states and token ids."""
        generator = torch.Generator().manual_seed(seed)
        drawn: list[Drawn] = []
        for length in lengths:
            rows = torch.randn(length, self.hidden_size, generator=generator).to(getattr(torch, dtype))
            ids = torch.randint(self.vocab_size, (length,), generator=generator)
            drawn.append(Drawn(rows, ids, self.params))
        return drawn

    @pytest.fixture
    def tasks(self, entry: Entry[PoolerSpec]) -> tuple[str, ...]:
        """The tasks that it serves."""
        tasks: tuple[str, ...] = entry.spec.tasks
        return tasks

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_one_result_a_sequence(self, tasks: tuple[str, ...]) -> None:
        """A row for a prompt; for tokens so many rows as the sequence has, or fewer. All are finite."""
        for task in tasks:
            per_token = self.registry().tasks.get(task).spec.per_token
            for lengths in (MIXED, (1,), (1, 1, 1), (self.longest,), (self.longest, 1)):
                for length, found in zip(lengths, self.pool(self.build(task), self.draw(lengths)), strict=True):
                    what = f"{self.name} for {task!r}, of {length} tokens of a batch of {list(lengths)}"
                    right = found.dim() == (ROWS if per_token else ROW) and not (per_token and len(found) > length)
                    demand(right, f"{what}, gives a result of the shape {list(found.shape)}")
                    demand(bool(torch.isfinite(found).all()), f"{what}, gives what is not finite")

    def test_rows_have_the_stated_width(self, entry: Entry[PoolerSpec], tasks: tuple[str, ...]) -> None:
        """As many values as a hidden state has, or as ``size_key`` of the record states."""
        key = entry.spec.size_key
        for task in tasks:
            pooler = self.build(task)
            stated = self.hidden_size if key is None else self.config.get(key)
            width = self.width or (stated if getattr(pooler, "head", None) is None or key is not None else None)
            for found in self.pool(pooler, self.draw()):
                shown = f"{self.name} for {task!r} gives rows of {found.shape[-1]} values"
                demand(width is None or found.shape[-1] == width, f"{shown}; its record states {width}")

    def test_order_is_kept(self, tasks: tuple[str, ...]) -> None:
        """The same sequences in reverse order give the same results in reverse order."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            there, back = self.pool(pooler, batch), self.pool(pooler, batch[::-1])[::-1]
            for place, (found, expected) in enumerate(zip(back, there, strict=True)):
                demand_same(found, expected, self.tolerances["float32"], f"{self.name}, sequence {place} in reverse")

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_batch_mates_do_not_matter(self, tasks: tuple[str, ...], deterministic: bool) -> None:
        """A sequence alone, among others, and among huge ones, has one result; to the bit if that is asked for."""
        tolerance = 0.0 if deterministic else self.tolerances["float32"]
        for task in tasks:
            pooler = self.build(task, deterministic=deterministic)
            self.demand_independent(pooler, self.draw(), tolerance)
            self.demand_independent(pooler, self.draw((self.longest, 1, 64, 65)), tolerance)

    def test_each_has_its_own_parameters(self, tasks: tuple[str, ...]) -> None:
        """Sequences of one batch may ask for different things."""
        asked = [{"use_activation": use, "dimensions": size} for use in (None, True, False) for size in (None, 5)]
        for task in tasks:
            batch = [
                own._replace(params=self.params.model_copy(update=asked[place % len(asked)]))
                for place, own in enumerate(self.draw())
            ]
            self.demand_independent(self.build(task), batch, self.tolerances["float32"])

    def test_a_part_of_a_prompt(self, tasks: tuple[str, ...]) -> None:
        """Where a span of a prompt is pooled, what stands beside the span does not matter."""
        span = (2, 6)
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            (expected,) = self.pool(pooler, [batch[LONG]], spans=[span])
            spoilt = torch.full_like(batch[LONG].rows, torch.nan)
            spoilt[span[0] : span[1]] = batch[LONG].rows[span[0] : span[1]]
            batch[LONG] = batch[LONG]._replace(rows=spoilt)
            spans = [span if place == LONG else None for place in range(len(batch))]
            found = self.pool(pooler, batch, spans=spans)[LONG]
            demand_same(found, expected, self.tolerances["float32"], f"{self.name}, tokens 2 to 5 among others")

    def test_other_dtypes_are_close(self, tasks: tuple[str, ...]) -> None:
        """What a model gives that computes in another dtype leads to much the same."""
        for task in tasks:
            for dtype, tolerance in self.tolerances.items():
                rounded = self.draw(dtype=dtype)
                exact = [own._replace(rows=own.rows.float()) for own in rounded]
                expected = self.pool(self.build(task), exact)
                for found, one in zip(self.pool(self.build(task, dtype=dtype), rounded), expected, strict=True):
                    demand_same(found.float(), one.float(), tolerance, f"{self.name} in {dtype} beside float32")

    def test_what_is_no_number_is_seen_and_stays_in_its_sequence(self, tasks: tuple[str, ...]) -> None:
        """A pooler that makes numbers of it would hand out nonsense: results that are not finite are refused."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            clean = self.pool(pooler, batch)
            batch[LONG] = batch[LONG]._replace(rows=torch.full_like(batch[LONG].rows, torch.nan))
            found = self.pool(pooler, batch)
            demand(not torch.isfinite(found[LONG]).all(), f"{self.name} makes finite numbers of NaN")
            for place in set(range(len(batch))) - {LONG}:
                what = f"{self.name}, sequence {place} beside one of NaN"
                demand_same(found[place], clean[place], self.tolerances["float32"], what)

    # --- how it behaves -----------------------------------------------------------------------------------------------

    def test_hidden_states_stay_as_they_are(self, tasks: tuple[str, ...]) -> None:
        """Several poolers may read those of one forward pass."""
        for task in tasks:
            batch = self.draw()
            rows = torch.cat([own.rows for own in batch])
            given = rows.clone()
            with torch.inference_mode():
                self.build(task)(given, metadata_of(batch))
            demand(torch.equal(given, rows), f"{self.name} writes into the hidden states")

    def test_nothing_of_a_batch_is_kept(self, tasks: tuple[str, ...]) -> None:
        """Neither a gradient nor the hidden states: memory would grow, and threads would meet in it."""
        for task in tasks:
            pooler, batch = self.build(task), self.draw()
            rows = torch.cat([own.rows for own in batch])
            with torch.inference_mode():
                found = list(pooler(rows, metadata_of(batch)))
            demand(not any(one.requires_grad for one in found), f"{self.name} keeps a gradient")
            trace = weakref.ref(rows)
            del rows, found
            gc.collect()
            demand(trace() is None, f"{self.name} keeps the hidden states of its last batch")

    def test_several_threads_may_call_it(self, tasks: tuple[str, ...]) -> None:
        """The engine computes a batch a worker."""
        for task in tasks:
            pooler = self.build(task)
            batches = [self.draw(MIXED[: 3 + seed % 5], seed=seed) for seed in range(16)]
            expected = [self.pool(pooler, batch) for batch in batches]
            found = in_threads(partial(self.pool, pooler), batches, self.threads)
            demand_same(found, expected, self.tolerances["float32"], f"{self.name}, threads beside one alone")

    def test_its_state_goes_round(self, tasks: tuple[str, ...]) -> None:
        """What is saved of it makes another like it."""
        for task in tasks:
            one, other = self.build(task), self.build(task)
            with torch.no_grad():
                for parameter in one.parameters():
                    parameter.copy_(torch.randn(parameter.shape))
            other.load_state_dict(one.state_dict())
            batch = self.draw()
            demand_same(self.pool(other, batch), self.pool(one, batch), 0.0, f"{self.name}, its state in another")

    # --- what it takes ------------------------------------------------------------------------------------------------

    def pool(self, pooler: nn.Module, batch: Batch, *, spans: Sequence[tuple[int, int] | None] = ()) -> list[Tensor]:
        """The result of each sequence; fails unless there is one for each."""
        hidden, metadata = torch.cat([own.rows for own in batch]), metadata_of(batch)
        rows, chosen = metadata.select(range(len(batch)), metadata.params, spans)
        with torch.inference_mode():
            found = list(pooler(hidden if rows is None else hidden[rows], chosen))
        demand(len(found) == len(batch), f"{self.name} gives {len(found)} results for {len(batch)} sequences")
        return found

    def demand_independent(self, pooler: nn.Module, batch: Batch, tolerance: float) -> None:
        """Demand that a sequence alone, among others, and among huge ones, has one result."""
        huge = [own._replace(rows=own.rows * 1e3) for own in batch]
        together = self.pool(pooler, batch)
        for place, own in enumerate(batch):
            (alone,) = self.pool(pooler, [own])
            among_huge = self.pool(pooler, [*huge[:place], own, *huge[place + 1 :]])[place]
            for found, how in ((together[place], "others"), (among_huge, "huge ones")):
                what = f"{self.name}, sequence {place} of {[len(one.rows) for one in batch]} among {how} beside alone"
                demand_same(found, alone, tolerance, what)


def metadata_of(batch: Batch) -> PoolingMetadata:
    """What a pooler is told of a batch."""
    return PoolingMetadata(
        lengths=tuple(len(own.rows) for own in batch),
        input_ids=torch.cat([own.ids for own in batch]),
        params=tuple(own.params for own in batch),
    )
