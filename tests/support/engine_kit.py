"""Fixtures for tests of the engine and of calls: arithmetic models that record, block or fail.

A ``conftest.py`` imports the fixtures that its folder needs. Tests do not sleep to wait for an event: a ``Gate`` blocks
the model until the test releases it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from waiting import PATIENCE_S, POLL_S, Call, eventually

from millpond.engine.background import BackgroundEngine
from millpond.engine.engine import Engine
from millpond.engine.executor import Outcome
from millpond.engine.request import PoolingRequest, Representation, RequestState
from millpond.engine.runner import Runner
from millpond.llm import LLM
from millpond.nn import PackedBatch, PoolingMetadata, PoolingModel
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.config import EngineConfig
from millpond.types.params import PoolingParams
from millpond_models.encoders.bert.model import BertModel

Sequences = list[tuple[int, ...]]
HOUR = 3600.0  # seconds that nothing of a test may take, however busy the machine


class Gate:
    """Blocks each forward of a model until the test releases it; models call it at the beginning of a forward."""

    def __init__(self) -> None:
        self._entered = threading.Semaphore(0)
        self._passes = threading.Semaphore(0)
        self._open = False
        self.timed_out = False

    def __call__(self, _: object = None) -> None:
        self._entered.release()
        if not self._open:
            self.timed_out |= not self._passes.acquire(timeout=PATIENCE_S)

    def wait(self, count: int = 1, *asked: Call) -> None:
        """Wait until ``count`` more forwards have begun; calls that cannot end before fail the test if they do."""
        for _ in range(count):
            eventually(lambda: self._entered.acquire(timeout=POLL_S), *asked)

    def no_forward_began(self) -> bool:
        """True if no forward has begun since the last ``wait``."""
        return not self._entered.acquire(blocking=False)

    def let_pass(self, count: int = 1) -> None:
        """Release ``count`` forwards."""
        self._passes.release(count)

    def open(self) -> None:
        """Release all current and later forwards."""
        self._open = True
        self._passes.release(10_000)


class Mean(nn.Module):
    """Pools the mean row of each sequence, truncated to ``dimensions``."""

    def forward(self, hidden: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        rows = [part.mean(0) for part in hidden.split(list(metadata.lengths))]
        means = [row[: params.dimensions] for row, params in zip(rows, metadata.params, strict=True)]
        return torch.stack(means) if len({len(row) for row in means}) == 1 else means


class Rows(nn.Module):
    """Pools all rows of each sequence, truncated to ``dimensions``."""

    def forward(self, hidden: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        parts = hidden.split(list(metadata.lengths))
        return [part[:, : params.dimensions] for part, params in zip(parts, metadata.params, strict=True)]


class Arithmetic(PoolingModel):
    """Computes for each token: id, position, token type, and the length of its sequence plus the feature ``add``.

    Attributes:
        seen: The sequences of each forward.
        threads: The thread of each forward.
        on_forward: Called with the sequences of each forward; tests make it raise.
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
            torch.full((length,), float(length + feature.get("add", 0)))
            for length, feature in zip(batch.lengths, features, strict=True)
        ]
        types = torch.zeros_like(batch.input_ids) if batch.token_type_ids is None else batch.token_type_ids
        rows = torch.stack([batch.input_ids, batch.positions, types, torch.cat(last)], dim=1).to(self.dtype)
        if self.nan_at is not None:
            rows[batch.input_ids == self.nan_at] = torch.nan
        return rows


class WatchedBert(BertModel):
    """A BertModel that calls ``on_forward`` at the beginning of each forward."""

    on_forward: ClassVar[Callable[[Sequences], None]] = staticmethod(lambda _: None)

    def forward(self, batch: PackedBatch) -> Tensor:
        self.on_forward(sequences_of(batch))
        return super().forward(batch)


def sequences_of(batch: PackedBatch) -> Sequences:
    """Return the token ids of a batch, one tuple per sequence."""
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
    """Return a request with token ids; ``params`` and ``types`` are optional."""
    params = params or PoolingParams()
    return PoolingRequest(
        input_ids=np.asarray(ids, dtype=np.int64),
        representations=tuple(Representation(task, params) for task in tasks),
        token_type_ids=None if types is None else np.asarray(types, dtype=np.int64),
        state=RequestState(priority=priority, on_done=on_done),
        **fields,
    )


def mean_of(request: PoolingRequest) -> np.ndarray:
    """Return the result of ``Arithmetic`` for a request without features."""
    ids = request.input_ids
    return np.array([ids.mean(), (len(ids) - 1) / 2, 0, len(ids)], dtype=np.float32)


def check(requests: Sequence[PoolingRequest]) -> None:
    """Check that each request has the right result."""
    for request in requests:
        assert request.error is None, request.error
        np.testing.assert_allclose(request.results[0], mean_of(request), rtol=1e-6)


def fails_on(*tokens: int, error: Callable[[], BaseException] = lambda: RuntimeError("poison")):
    """Return an ``on_forward`` that raises if a sequence contains one of the tokens."""

    def on_forward(sequences: Sequences) -> None:
        if any(token in sequence for sequence in sequences for token in tokens):
            raise error()

    return on_forward


def drain(engine: Engine) -> list[PoolingRequest]:
    """Step until no work is left, and return the ended requests."""
    ended: list[PoolingRequest] = []
    while engine.num_unfinished:
        ended += engine.step()
    return ended


def add_all(engine: Engine, requests: list[PoolingRequest]) -> list[PoolingRequest]:
    """Add requests to an engine."""
    for request in requests:
        engine.add(request)
    return requests


def numbered(count: int, **fields) -> list[PoolingRequest]:
    """Return distinct requests of different lengths."""
    return [make_request([number, *range(number % 13)], **fields) for number in range(count)]


def run_all(engine: Engine, requests: list[PoolingRequest]) -> list[PoolingRequest]:
    """Run requests until they end, and check that each ends once."""
    ended = drain(engine) if add_all(engine, requests) else []
    assert len(ended) == len(requests)
    assert set(ended) == set(requests)
    return requests


def on_worker(runner: Runner, *requests: PoolingRequest) -> Outcome:
    """Return the outcome of a batch that a worker computes."""
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    runner.submit(list(requests), outcomes.put)
    return outcomes.get(timeout=PATIENCE_S)


# --- background engines -----------------------------------------------------------------------------------------------


class Latch:
    """Waits for requests to end in any thread."""

    def __init__(self, requests):
        self.ended = []
        self._threads = set()
        self._all = threading.Event()
        self._left = len(requests)
        for request in requests:
            request.state.on_done = self._note

    def _note(self, request):
        self.ended.append(request)
        self._threads.add(threading.current_thread().name)
        if len(self.ended) == self._left:
            self._all.set()

    def wait(self):
        assert self._all.wait(PATIENCE_S), f"{len(self.ended)} of {self._left} requests ended"
        assert self._threads == {"millpond-engine"}
        return self.ended


def run(thread, requests):
    """Submit requests, and wait for them."""
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    return requests


def quarantined(thread, requests):
    """Submit requests; those that are blocked end on this thread."""
    ended = threading.Event()
    left = [len(requests)]

    def note(_):
        left[0] -= 1
        if not left[0]:
            ended.set()

    for request in requests:
        request.state.on_done = note
    thread.submit(requests)
    assert ended.wait(PATIENCE_S)
    return requests


def in_thread(function, *arguments, **named):
    thread = threading.Thread(target=function, args=arguments, kwargs=named, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(PATIENCE_S)
    return not thread.is_alive()


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """Return the functions and the model of this module."""
    return SimpleNamespace(
        patience=PATIENCE_S,
        model=Arithmetic,
        request=make_request,
        mean_of=mean_of,
        check=check,
        fails_on=fails_on,
        drain=drain,
        add_all=add_all,
        numbered=numbered,
        run_all=run_all,
        hour=HOUR,
        latch=Latch,
        run=run,
        quarantined=quarantined,
        in_thread=in_thread,
        joined=joined,
    )


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Yield a gate, which is opened at the end so that no thread stays blocked."""
    gate = Gate()
    yield gate
    gate.open()
    assert not gate.timed_out, "a thread timed out at the gate"


@pytest.fixture
def closing(gate: Gate) -> Iterator[ExitStack]:
    """Yield a stack that closes resources of the test after the gate is opened."""
    with ExitStack() as stack:
        yield stack
        gate.open()


@pytest.fixture
def model() -> Arithmetic:
    """Return an arithmetic model in float32."""
    return Arithmetic()


@pytest.fixture
def make_runner(model: Arithmetic, closing: ExitStack):
    """Return a function that creates runners of the model, which are closed after the test."""

    def make(num_workers: int = 1) -> Runner:
        runner = Runner(model, device=torch.device("cpu"), num_workers=num_workers)
        closing.callback(runner.close)
        return runner

    return make


@pytest.fixture
def make_engine(make_runner):
    """Return a function that creates engines of the model, which are closed after the test."""

    def make(num_workers: int = 1, **config: int) -> Engine:
        return Engine(make_runner(num_workers), EngineConfig(**config), notify=lambda: None)

    return make


@pytest.fixture
def make_thread(make_runner, closing: ExitStack):
    """Return a function that creates background engines of the model, which are closed after the test."""

    def make(num_workers: int = 1, **config: int) -> BackgroundEngine:
        thread = BackgroundEngine(make_runner(num_workers), EngineConfig(**config))
        closing.callback(thread.close, finish=False)
        return thread

    return make


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a tiny BERT with random weights and a tokenizer."""
    return str(tiny("BertModel", tmp_path_factory.mktemp("engine") / "bert"))


@pytest.fixture
def watched(plugin_manager: PluginManager, monkeypatch: pytest.MonkeyPatch):
    """Return plugins with a BertModel that calls the function of ``watch(function)`` at each forward."""
    built_in = plugin_manager.registry.architectures.get("BertModel").spec
    plugin_manager.register(replace(built_in, target=WatchedBert))

    def watch(function: Callable[[Sequences], None]) -> None:
        monkeypatch.setattr(WatchedBert, "on_forward", staticmethod(function))

    return SimpleNamespace(plugins=plugin_manager, watch=watch)


@pytest.fixture
def make_llm(folder: str, watched: SimpleNamespace, closing: ExitStack):
    """Return a function that loads the tiny BERT with these plugins; models are closed after the test."""

    def make(num_workers: int = 2, **arguments) -> LLM:
        return closing.enter_context(LLM(folder, plugins=watched.plugins, num_workers=num_workers, **arguments))

    return make


@pytest.fixture
def threads_named():
    """Return a function that lists the threads with a name prefix that were started during the test."""
    before = set(threading.enumerate())

    def named(prefix: str) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith(prefix) and thread not in before]

    return named


@pytest.fixture
def three_threads() -> Iterator[int]:
    """Set torch's number of threads to three, on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def deaths(monkeypatch):
    """Return the exceptions that ended threads, instead of pytest's warning."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    return died
