"""Engine: the one loop. ``add`` requests, ``step`` until none is left; no thread and no event loop inside."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter

from millpond.engine.health import Throughput
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Outcome, Runner
from millpond.engine.scheduler import Scheduler, TokenBudget
from millpond.types.config import EngineConfig
from millpond.types.errors import (
    ComponentError,
    EngineClosedError,
    EngineError,
    InsufficientMemoryError,
    MillpondError,
    RequestCancelledError,
    is_out_of_memory,
)

IN_A_ROW = 8  # requests that fail, each alone, with no batch between them that succeeds
FAILED_ON = "the model failed on"
LONG_ENOUGH = 1024  # tokens; below, a second thread costs a lone sequence more than it gives


@dataclass
class EngineStats:
    """What the engine has done so far.

    Attributes:
        batches: Batches that were computed.
        requests: Requests that ended, by result or error.
        tokens: Tokens that were computed.
        failures: Requests that ended in an error of their own; those that were cancelled do not count.
    """

    batches: int = 0
    requests: int = 0
    tokens: int = 0
    failures: int = 0


class Engine:
    """Turns waiting requests into batches and batches into results. One thread at a time may call it.

    Attributes:
        stats: What it has done so far.
        throughput: How fast it does it.
        on_batch: Called with the requests and the seconds of each batch that was computed, by whoever turns the loop.
        on_failure: Called with the requests of a batch that failed for good: one on which the model failed alone, but
            not where it fails on all, or those of a batch that ends the loop.
    """

    def __init__(self, runner: Runner, config: EngineConfig, *, notify: Callable[[], None] | None = None) -> None:
        """Start with nothing waiting.

        Args:
            runner: Computes the batches.
            config: The budget of a batch.
            notify: Called by a worker when a batch is done, for who sleeps meanwhile.
        """
        self.runner = runner
        self.scheduler = Scheduler(config.max_num_batched_tokens, config.max_num_seqs)
        self.stats = EngineStats()
        self.throughput = Throughput()
        self.on_batch: Callable[[list[PoolingRequest], float], None] | None = None
        self.on_failure: Callable[[list[PoolingRequest]], None] = lambda _: None
        self._budget = TokenBudget(config.max_num_batched_tokens)
        self._notify = notify
        self._failed_in_a_row = 0
        self._running: list[list[PoolingRequest]] = []
        self._alone: list[PoolingRequest] | None = None  # the batch that is computed in this thread
        self._again: deque[list[PoolingRequest]] = deque()
        self._done: SimpleQueue[Outcome] = SimpleQueue()

    @property
    def has_work(self) -> bool:
        """Whether anything waits or runs."""
        return self.has_waiting or bool(self._running)

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits that does not run yet."""
        return bool(self._again) or len(self.scheduler) > 0

    def add(self, request: PoolingRequest) -> None:
        """Let a request wait for its batch.

        Raises:
            EngineClosedError: If the engine was closed.
        """
        if not self.runner.is_open:
            message = "the engine is closed, and its workers have ended: load the model again"
            raise EngineClosedError(message)
        self.scheduler.add(request)

    def drop_cancelled(self) -> list[PoolingRequest]:
        """The requests that were cancelled before their batch was cut, which have ended: they hold no place."""
        dropped = self.scheduler.drop_cancelled()
        for request in dropped:
            request.error = _cancelled()
        self.stats.requests += len(dropped)
        return dropped

    def step(self, *, block: bool = True) -> list[PoolingRequest]:
        """Launch a batch on every idle worker, and return the requests that have ended.

        Args:
            block: Whether to wait for a batch to end if none has.
        """
        ended = self._launch()
        waits = block and not ended
        while self._running:
            try:
                outcome = self._done.get(block=waits)
            except Empty:
                break
            waits = False
            self._running.remove(outcome.requests)
            ended += self._settle(outcome)
        self.stats.requests += len(ended)
        return ended

    @property
    def is_full(self) -> bool:
        """Whether every worker computes."""
        return len(self._running) >= self.runner.num_workers

    @property
    def running(self) -> list[list[PoolingRequest]]:
        """The batches that are computed at present; any thread may ask."""
        alone = self._alone
        return [*self._running, *([] if alone is None else [alone])]

    @property
    def is_blocked(self) -> bool:
        """Whether the thread that turns the loop computes a batch itself: nothing else begins meanwhile."""
        return self._alone is not None

    def abort(self) -> list[PoolingRequest]:
        """Forget what waits and what runs, and return both; what a worker still computes is thrown away."""
        left = self.scheduler.clear()
        for batch in (*self._again, *self._running):
            left += batch
        self._again.clear()
        self._running.clear()
        self._done = SimpleQueue()
        return left

    def close(self) -> None:
        """End the workers once they have finished what they have."""
        self.runner.close()

    def _launch(self) -> list[PoolingRequest]:
        ended: list[PoolingRequest] = []
        while not self.is_full and self.has_waiting:
            idle = self.runner.num_workers - len(self._running)
            batch = self._again.popleft() if self._again else self.scheduler.take(idle)
            ended += self._without_cancelled(batch)
            if not batch:
                continue
            now = perf_counter()
            for request in batch:
                request.state.started = now
            batch[0].state.advanced = now
            if self._is_alone(batch):
                ended += self._settle(self._run_here(batch))
                break  # whoever waits for these gets them before the next batch is computed
            self._running.append(batch)
            self.runner.submit(batch, partial(self._finish, self._done))
        return ended

    def _without_cancelled(self, batch: list[PoolingRequest]) -> list[PoolingRequest]:
        """The requests of a batch that were cancelled, which end; they are taken out of it."""
        gone = [request for request in batch if request.state.cancelled]
        for request in gone:
            batch.remove(request)
            request.error = _cancelled()
        return gone

    def _run_here(self, batch: list[PoolingRequest]) -> Outcome:
        self._alone = batch
        try:
            return self.runner.run(batch)
        finally:
            self._alone = None

    def _is_alone(self, batch: list[PoolingRequest]) -> bool:
        """Whether the batch is computed in this thread, with all the threads torch has."""
        if self.runner.device.type != "cpu":
            return True
        long = len(batch) == 1 and batch[0].num_tokens >= LONG_ENOUGH
        return long and not self._running and not self.has_waiting and self.runner.num_workers > 1

    def _finish(self, done: "SimpleQueue[Outcome]", outcome: Outcome) -> None:
        done.put(outcome)
        if self._notify is not None:
            self._notify()

    def _settle(self, outcome: Outcome) -> list[PoolingRequest]:
        """The requests that have ended; those of a failed batch are run again in halves, so a culprit fails alone."""
        requests, error = outcome
        self.stats.batches += 1
        if error is None:
            self._failed_in_a_row = 0
            self._measure(requests)
            self.stats.failures += sum([request.error is not None for request in requests])
            return requests
        if isinstance(error, KeyboardInterrupt):
            self.on_failure(requests)
            raise error
        if len(requests) == 1:
            return self._fail(requests, error)
        if is_out_of_memory(error):
            self._budget.shrink(sum(request.num_tokens for request in requests) // 2)
            self.scheduler.max_num_batched_tokens = self._budget.tokens
        middle = len(requests) // 2
        self._again += (requests[:middle], requests[middle:])
        return []

    def _measure(self, requests: list[PoolingRequest]) -> None:
        tokens = sum([request.num_tokens for request in requests])
        began, ended = requests[0].state.started, perf_counter()
        self.stats.tokens += tokens
        self.throughput.note(tokens, began=began, ended=ended)
        if self._budget.tokens < self._budget.most:
            self._budget.succeed()
            self.scheduler.max_num_batched_tokens = self._budget.tokens
        if self.on_batch is not None:
            self.on_batch(requests, ended - began)

    def _fail(self, requests: list[PoolingRequest], error: BaseException) -> list[PoolingRequest]:
        """End the one request of a batch in the error that the model raised."""
        (request,) = requests
        request.error = _as_engine_error(error)
        self.stats.failures += 1
        if _has_raised(error) and not is_out_of_memory(error):
            self._failed_in_a_row += 1
            if self._failed_in_a_row <= IN_A_ROW:  # else it is the model that ails, and not what it is asked
                self.on_failure(requests)
        return requests


def _cancelled() -> RequestCancelledError:
    return RequestCancelledError("the request was cancelled")


def _has_raised(error: BaseException) -> bool:
    """True if the model or a component of it raised, and did not refuse the request."""
    if isinstance(error, ComponentError):
        return error.__cause__ is not None
    return not isinstance(error, MillpondError)


def _as_engine_error(error: BaseException) -> MillpondError:
    if isinstance(error, MillpondError):
        return error
    short = is_out_of_memory(error)
    kind, what = (InsufficientMemoryError, "there is not enough memory for") if short else (EngineError, FAILED_ON)
    wrapped = kind(f"{what} this request: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
