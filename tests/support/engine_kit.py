"""Fixtures for tests of the engine and of calls: models that are plain arithmetic, watched, held or poisoned.

A ``conftest.py`` imports those that its folder needs. No test sleeps to let something happen: a model is held by a
``Gate`` until the test lets it go on.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from millpond.engine.background import BackgroundEngine
from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest, Representation, RequestState
from millpond.engine.runner import Runner
from millpond.llm import LLM
from millpond.nn import PackedBatch, PoolingModel
from millpond.nn.batch import PoolingMetadata
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.config import EngineConfig
from millpond.types.params import PoolingParams
from millpond_models.encoders.bert.model import BertModel

PATIENCE = 120  # seconds until a test that waits for something is given up
Sequences = list[tuple[int, ...]]


class Gate:
    """Called by a model at each forward: notes who comes, and lets nobody pass until the test says so."""

    def __init__(self) -> None:
        self._entered = threading.Semaphore(0)
        self._passes = threading.Semaphore(0)
        self._open = False
        self.given_up = False

    def __call__(self, _: object = None) -> None:
        self._entered.release()
        if not self._open:
            self.given_up |= not self._passes.acquire(timeout=PATIENCE)

    def wait(self, count: int = 1) -> None:
        """Return when so many more forwards have begun."""
        for _ in range(count):
            assert self._entered.acquire(timeout=PATIENCE), "no forward began"

    def nobody_came(self) -> bool:
        """Whether no forward has begun that was not waited for."""
        return not self._entered.acquire(blocking=False)

    def let_pass(self, count: int = 1) -> None:
        """Let so many forwards go on."""
        self._passes.release(count)

    def open(self) -> None:
        """Let all forwards go on, and those that come."""
        self._open = True
        self._passes.release(10_000)


class Mean(nn.Module):
    """Each sequence's mean row, or as much of it as ``dimensions`` says."""

    def forward(self, hidden: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        rows = [part.mean(0) for part in hidden.split(list(metadata.lengths))]
        cut = [row[: own.dimensions] for row, own in zip(rows, metadata.params, strict=True)]
        return torch.stack(cut) if len({len(row) for row in cut}) == 1 else cut


class Rows(nn.Module):
    """Every row of each sequence."""

    def forward(self, hidden: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        parts = hidden.split(list(metadata.lengths))
        return [part[:, : own.dimensions] for part, own in zip(parts, metadata.params, strict=True)]


class Arithmetic(PoolingModel):
    """Each token's row is its id, its place, its segment, and the length of its sequence plus the feature ``add``.

    Attributes:
        seen: The sequences of each forward.
        threads: The thread of each forward.
        on_forward: Called with the sequences of each forward; raises where the test wants it to.
        nan_at: The token whose row is NaN.
    """

    def __init__(self, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(SimpleNamespace(tasks=()))
        self.poolers = nn.ModuleDict({"embed": Mean(), "token_embed": Rows()})
        self.dtype = dtype
        self.seen: list[Sequences] = []
        self.threads: list[threading.Thread] = []
        self.on_forward: Callable[[Sequences], None] = lambda _: None
        self.nan_at: int | None = None

    def forward(self, batch: PackedBatch) -> Tensor:
        sequences = sequences_of(batch)
        self.seen.append(sequences)
        self.threads.append(threading.current_thread())
        self.on_forward(sequences)
        features = batch.features or [{}] * batch.num_seqs
        last = [
            torch.full((length,), float(length + own.get("add", 0)))
            for length, own in zip(batch.lengths, features, strict=True)
        ]
        types = torch.zeros_like(batch.input_ids) if batch.token_type_ids is None else batch.token_type_ids
        rows = torch.stack([batch.input_ids, batch.positions, types, torch.cat(last)], dim=1).to(self.dtype)
        if self.nan_at is not None:
            rows[batch.input_ids == self.nan_at] = torch.nan
        return rows


class WatchedBert(BertModel):
    """BertModel, except that each forward is announced first."""

    on_forward: ClassVar[Callable[[Sequences], None]] = staticmethod(lambda _: None)

    def forward(self, batch: PackedBatch) -> Tensor:
        self.on_forward(sequences_of(batch))
        return super().forward(batch)


def sequences_of(batch: PackedBatch) -> Sequences:
    """The token ids of a batch, one tuple a sequence."""
    return [tuple(part.tolist()) for part in batch.input_ids.split(list(batch.lengths))]


def make_request(
    ids: Sequence[int],
    *,
    tasks: Sequence[str] = ("embed",),
    params=None,
    types=None,
    priority=0,
    on_done=None,
    **fields,
):
    """A request of token ids; ``params`` and ``types`` may be left out."""
    params = params or PoolingParams()
    return PoolingRequest(
        input_ids=np.asarray(ids, dtype=np.int64),
        representations=tuple(Representation(task, params) for task in tasks),
        token_type_ids=None if types is None else np.asarray(types, dtype=np.int64),
        state=RequestState(priority=priority, on_done=on_done),
        **fields,
    )


def mean_of(request: PoolingRequest) -> np.ndarray:
    """What ``Arithmetic`` makes of a plain request."""
    ids = request.input_ids
    return np.array([ids.mean(), (len(ids) - 1) / 2, 0, len(ids)], dtype=np.float32)


def check(requests: Sequence[PoolingRequest]) -> None:
    """Each request has its own result."""
    for request in requests:
        assert request.error is None, request.error
        np.testing.assert_allclose(request.results[0], mean_of(request), rtol=1e-6)


def fails_on(*tokens: int, error: Callable[[], BaseException] = lambda: RuntimeError("poison")):
    """What a model that cannot bear a token does at each forward."""

    def on_forward(sequences: Sequences) -> None:
        if any(token in sequence for sequence in sequences for token in tokens):
            raise error()

    return on_forward


def drain(engine: Engine) -> list[PoolingRequest]:
    """Step until nothing is left."""
    ended: list[PoolingRequest] = []
    while engine.has_work:
        ended += engine.step()
    return ended


def add_all(engine: Engine, requests: list[PoolingRequest]) -> list[PoolingRequest]:
    """Add requests to an engine."""
    for request in requests:
        engine.add(request)
    return requests


def numbered(count: int, **fields) -> list[PoolingRequest]:
    """Requests of different lengths, no two alike."""
    return [make_request([number, *range(number % 13)], **fields) for number in range(count)]


def run_all(engine: Engine, requests: list[PoolingRequest]) -> list[PoolingRequest]:
    """Run requests to their end, each of which must end once."""
    ended = drain(engine) if add_all(engine, requests) else []
    assert len(ended) == len(requests)
    assert set(ended) == set(requests)
    return requests


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions and the model above."""
    return SimpleNamespace(
        patience=PATIENCE,
        model=Arithmetic,
        request=make_request,
        mean_of=mean_of,
        check=check,
        fails_on=fails_on,
        drain=drain,
        add_all=add_all,
        numbered=numbered,
        run_all=run_all,
    )


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate, opened at the end so that no thread is left behind it."""
    gate = Gate()
    yield gate
    gate.open()
    assert not gate.given_up, "a thread waited in vain for the gate to open"


@pytest.fixture
def closing(gate: Gate) -> Iterator[ExitStack]:
    """Closes what a test has opened, once the gate is open."""
    with ExitStack() as stack:
        yield stack
        gate.open()


@pytest.fixture
def model() -> Arithmetic:
    """A model that is plain arithmetic, in float32."""
    return Arithmetic()


@pytest.fixture
def make_runner(model: Arithmetic, closing: ExitStack):
    """Build runners of the model, which end with the test."""

    def make(num_workers: int = 1) -> Runner:
        runner = Runner(model, device=torch.device("cpu"), num_workers=num_workers)
        closing.callback(runner.close)
        return runner

    return make


@pytest.fixture
def make_engine(make_runner):
    """Build engines of the model, which end with the test."""

    def make(num_workers: int = 1, **config: int) -> Engine:
        return Engine(make_runner(num_workers), EngineConfig(**config))

    return make


@pytest.fixture
def make_thread(make_runner, closing: ExitStack):
    """Build engine threads of the model, which end with the test."""

    def make(num_workers: int = 1, **config: int) -> BackgroundEngine:
        thread = BackgroundEngine(make_runner(num_workers), EngineConfig(**config))
        closing.callback(thread.close, finish=False)
        return thread

    return make


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny BERT with random weights and a tokenizer."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("engine") / "bert"))


@pytest.fixture
def watched(plugin_manager: PluginManager, monkeypatch: pytest.MonkeyPatch):
    """Plugins whose BertModel announces each forward to ``watch(function)``."""
    built_in = plugin_manager.registry.architectures.get("BertModel").spec
    plugin_manager.register(replace(built_in, target=WatchedBert))

    def watch(function: Callable[[Sequences], None]) -> None:
        monkeypatch.setattr(WatchedBert, "on_forward", staticmethod(function))

    return SimpleNamespace(plugins=plugin_manager, watch=watch)


@pytest.fixture
def make_llm(folder: str, watched: SimpleNamespace, closing: ExitStack):
    """Load the tiny BERT, watched; it is closed with the test."""

    def make(num_workers: int = 2, **arguments) -> LLM:
        return closing.enter_context(LLM(folder, plugins=watched.plugins, num_workers=num_workers, **arguments))

    return make


@pytest.fixture
def threads_named():
    """The living threads whose names start so, without those that lived before the test."""
    before = set(threading.enumerate())

    def named(prefix: str) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith(prefix) and thread not in before]

    return named


@pytest.fixture
def three_threads() -> Iterator[int]:
    """Torch computes with three threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)
