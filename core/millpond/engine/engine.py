"""Engine: the one loop. Call ``add`` for each request and ``step`` until none is left; it starts no thread itself."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter

from millpond.engine.executor import Executor, Outcome
from millpond.engine.request import PoolingRequest
from millpond.engine.scheduler import Scheduler, batch_limits
from millpond.types.config import EngineConfig
from millpond.types.errors import (
    ComponentError,
    EngineClosedError,
    EngineError,
    InsufficientMemoryError,
    MillpondError,
    RequestCancelledError,
    is_out_of_memory,
    quoted,
)

# Requests that fail one after another, each alone, before the model itself is considered to be failing.
MAX_CONSECUTIVE_INPUT_FAILURES = 8
FAILED_ON = "the model failed on"
DECAY_PER_BATCH = 0.9  # weight of earlier batches in the throughput: about the last ten count
MULTI_THREAD_MIN_TOKENS = 1024  # with fewer tokens, a second thread slows down a single sequence


@dataclass
class EngineStats:
    """Counters of an engine.

    Attributes:
        batches: Computed batches.
        requests: Ended requests, with a result or an error.
        tokens: Tokens of computed sequences.
        shared_tokens: Tokens among them that were not computed, because other sequences of a call begin with them.
        failures: Requests that ended in an error, without cancelled ones.
    """

    batches: int = 0
    requests: int = 0
    tokens: int = 0
    shared_tokens: int = 0
    failures: int = 0


class Throughput:
    """Tokens per second while at least one batch runs; batches may overlap.

    Attributes:
        rate: Tokens per second; 0.0 until a batch has ended.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._tokens = 0.0
        self._seconds = 0.0
        self._last = float("-inf")

    def note(self, tokens: int, *, began: float, ended: float) -> None:
        """Add a computed batch.

        Args:
            tokens: Its number of tokens.
            began: Its start, in seconds.
            ended: Its end, by the same clock; not earlier than the end of the previous batch.
        """
        self._tokens = DECAY_PER_BATCH * self._tokens + tokens
        self._seconds = DECAY_PER_BATCH * self._seconds + max(ended - max(began, self._last), 0.0)
        self._last = ended
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds

    def seconds_for(self, tokens: float) -> float:
        """Return the expected seconds for a number of tokens; 0.0 until a batch has ended."""
        return tokens / self.rate if self.rate > 0 else 0.0


class Engine:
    """Groups waiting requests into batches and computes them. Only one thread at a time may call it.

    Attributes:
        stats: Counters since the start.
        throughput: The measured speed.
        num_unfinished: The number of requests that are waiting or running.
        on_batch: Called with the requests and the seconds of each computed batch, on the thread that calls ``step``.
        on_failure: Called with the requests of a batch that failed finally: a single request that the model failed on
            (unless it fails on every request), or the requests of a batch that stops the loop.
    """

    def __init__(self, runner: Executor, config: EngineConfig, *, notify: Callable[[], None] | None = None) -> None:
        """Create an engine without requests.

        Args:
            runner: Computes the batches.
            config: The limits of a batch.
            notify: Called by a worker when a batch is done, to wake the thread that calls ``step``. Without it, a batch
                is computed in that thread if no other request waits or runs: it saves two thread switches. This is not
                done if torch uses several threads there, because these would slow down a small batch.
        """
        self.runner = runner
        self.scheduler = Scheduler(*batch_limits(config, runner.device))
        self.stats = EngineStats()
        self.throughput = Throughput()
        self.num_unfinished = 0
        self.on_batch: Callable[[list[PoolingRequest], float], None] | None = None
        self.on_failure: Callable[[list[PoolingRequest]], None] = lambda _: None
        self.running: list[list[PoolingRequest]] = []
        self.is_blocked = False
        self._notify = notify
        if notify is not None:
            runner.on_change = notify
        self._is_accelerated = runner.inline_threads > 0 and runner.device.type != "cpu"
        self._consecutive_failures = 0
        self._retries: deque[list[PoolingRequest]] = deque()
        self._done: SimpleQueue[Outcome] = SimpleQueue()
        self._is_closed = False

    @property
    def has_waiting(self) -> bool:
        """True if a request is waiting for its batch."""
        return bool(self._retries) or self.scheduler.num_waiting > 0

    def add(self, request: PoolingRequest) -> None:
        """Add a request to the queue.

        Raises:
            EngineClosedError: If the engine was closed.
        """
        if self._is_closed:
            message = "the engine is closed and its workers have stopped: load the model again"
            raise EngineClosedError(message)
        self.num_unfinished += 1
        self.scheduler.add(request)

    def drop_cancelled(self) -> list[PoolingRequest]:
        """Remove cancelled requests from the queue; return them with their error."""
        dropped = _cancelled(self.scheduler.drop_cancelled())
        self.stats.requests += len(dropped)
        self.num_unfinished -= len(dropped)
        return dropped

    def step(self, *, block: bool = True) -> list[PoolingRequest]:
        """Start a batch on every idle worker, and return the requests that have ended.

        Args:
            block: True to wait until a batch ends if none has ended.

        Raises:
            EngineClosedError: If no process is left that could compute batches.
        """
        if self.runner.crash is not None:
            raise self.runner.crash
        ended = self._launch()
        waits = block and not ended
        while self.running:
            try:
                outcome = self._done.get(block=waits)
            except Empty:
                break
            waits = False
            ended += self._handle_outcome(outcome)
        self.stats.requests += len(ended)
        self.num_unfinished -= len(ended)
        return ended

    @property
    def is_full(self) -> bool:
        """True if every worker is computing a batch."""
        return len(self.running) >= self.runner.num_workers

    def abort(self) -> list[PoolingRequest]:
        """Remove all waiting and running requests and return them; results of running batches are dropped."""
        requests = self.scheduler.clear()
        for batch in (*self._retries, *self.running):
            requests += batch
        self._retries.clear()
        self.running.clear()
        self.num_unfinished = 0
        self._done = SimpleQueue()
        return requests

    def close(self) -> None:
        """Stop the workers after their current batches."""
        self._is_closed = True
        self.runner.close()

    def _launch(self) -> list[PoolingRequest]:
        ended: list[PoolingRequest] = []
        while (idle := self.runner.num_workers - len(self.running)) > 0:
            if self._retries:
                batch = self._retries.popleft()
            elif self.scheduler.num_waiting:
                batch = self.scheduler.take(1 if self._is_accelerated else idle)
            else:
                break
            now, cancelled = perf_counter(), []
            for request in batch:
                request.state.started = now
                if request.state.cancelled:
                    cancelled.append(request)
            if cancelled:
                ended += _cancelled(cancelled)
                batch = [request for request in batch if request not in cancelled]
            if not batch:
                continue
            batch[0].state.advanced = now
            runs_inline = self._runs_inline(batch)
            self.running.append(batch)
            self.is_blocked = True
            if runs_inline:
                outcome = self.runner.run(batch)
                self.is_blocked = False
                return ended + self._handle_outcome(outcome)  # before the next batch is computed
            # The queue of now: after ``abort``, results of this batch must not enter the next one.
            done = self._done.put if self._notify is None else partial(self._finish, self._done, self._notify)
            self.runner.submit(batch, done)
            self.is_blocked = False
        return ended

    def _runs_inline(self, batch: list[PoolingRequest]) -> bool:
        """True if the batch is computed in this thread."""
        if self.runner.inline_threads == 0:
            return False
        if self._is_accelerated and self.runner.num_workers == 1:
            return True
        if self.num_unfinished > len(batch):
            return False
        if self._is_accelerated or (self._notify is None and self.runner.inline_threads == 1):
            return True
        return len(batch) == 1 and batch[0].num_tokens >= MULTI_THREAD_MIN_TOKENS and self.runner.num_workers > 1

    @staticmethod
    def _finish(done: "SimpleQueue[Outcome]", notify: Callable[[], None], outcome: Outcome) -> None:
        done.put(outcome)
        notify()

    def _handle_outcome(self, outcome: Outcome) -> list[PoolingRequest]:
        """Return the requests that have ended. A failed batch runs again in halves until the failing input is alone."""
        requests, error, shared_tokens = outcome
        self.running.remove(requests)
        self.stats.batches += 1
        if error is None:
            self._consecutive_failures = 0
            self.stats.shared_tokens += shared_tokens
            self._measure(requests)
            for request in requests:
                self.stats.failures += request.error is not None
            return requests
        if isinstance(error, KeyboardInterrupt):
            self.on_failure(requests)
            raise error
        if error is self.runner.crash:
            raise error
        if len(requests) == 1:
            return self._fail(requests, error)
        if is_out_of_memory(error):
            self.scheduler.shrink(sum(request.num_tokens for request in requests) // 2)
        middle = len(requests) // 2
        self._retries += (requests[:middle], requests[middle:])
        return []

    def _measure(self, requests: list[PoolingRequest]) -> None:
        tokens = 0
        for request in requests:
            tokens += request.num_tokens
        began, ended = requests[0].state.started, perf_counter()
        self.stats.tokens += tokens
        self.throughput.note(tokens, began=began, ended=ended)
        self.scheduler.succeed()
        if self.on_batch is not None:
            self.on_batch(requests, ended - began)

    def _fail(self, requests: list[PoolingRequest], error: BaseException) -> list[PoolingRequest]:
        """Set the error that the model raised on the only request of a batch."""
        (request,) = requests
        request.error = _as_engine_error(error)
        self.stats.failures += 1
        if _has_raised(error) and not is_out_of_memory(error):
            self._consecutive_failures += 1
            if self._consecutive_failures <= MAX_CONSECUTIVE_INPUT_FAILURES:  # else the model fails on every input
                self.on_failure(requests)
        return requests


def _cancelled(requests: list[PoolingRequest]) -> list[PoolingRequest]:
    """Set the error of cancelled requests, and return them."""
    for request in requests:
        request.error = RequestCancelledError("the request was cancelled")
    return requests


def _has_raised(error: BaseException) -> bool:
    """True if the model or one of its components failed, rather than refusing the request."""
    if isinstance(error, ComponentError):
        return error.__cause__ is not None
    return not isinstance(error, MillpondError)


def _as_engine_error(error: BaseException) -> MillpondError:
    if isinstance(error, MillpondError):
        return error
    error_type, problem = EngineError, FAILED_ON
    if is_out_of_memory(error):
        error_type, problem = InsufficientMemoryError, "not enough memory for"
    wrapped = error_type(f"{problem} this request: {quoted(error)}")
    wrapped.__cause__ = error
    return wrapped
