"""BackgroundEngine: steps the engine in its own thread, for callers that must not block."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from queue import Empty, SimpleQueue

from millpond.engine.engine import Engine
from millpond.engine.executor import Executor
from millpond.engine.request import PoolingRequest
from millpond.types.config import EngineConfig
from millpond.types.errors import EngineClosedError, EngineError, EngineOverloadedError, quoted

logger = logging.getLogger(__name__)
# Share of max_waiting_tokens that requests with a priority above 0 may fill; the rest is reserved for the others.
BATCH_PRIORITY_SHARE = 0.75
RETRY_AFTER_MIN_S = 0.05


class BackgroundEngine:
    """An engine that runs in its own thread: ``submit`` adds requests, their ``on_done`` is called when they end.

    Attributes:
        engine: The engine.
        max_waiting_tokens: The maximum number of tokens that may wait.
        max_wait_s: Requests with a longer expected wait, in seconds, are refused; None for no limit.
        screen: Called with the requests of each call; returns those that are not computed, with their errors.
        on_ended: Called with the requests of ended batches, on the engine's thread, before their ``on_done``.
        waiting_tokens: The tokens of all requests that have not ended.
        crash_reason: The exception that stopped the loop; empty while it runs or after a normal close.
    """

    def __init__(self, runner: Executor, config: EngineConfig) -> None:
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()  # functions for the engine's thread
        self.engine = Engine(runner, config, notify=lambda: self._inbox.put(_wake))
        self.screen: Callable[[list[PoolingRequest]], Mapping[PoolingRequest, EngineError]] = lambda _: {}
        self.on_ended: Callable[[list[PoolingRequest]], None] = lambda _: None
        self.max_wait_s: float | None = None
        self.max_waiting_tokens = config.max_waiting_tokens
        self.waiting_tokens = 0
        self.crash_reason = ""
        self._lock = threading.RLock()
        self._tokens_by_priority: Counter[int] = Counter()
        self._pending: dict[PoolingRequest, None] = {}
        self._closed = False  # refuses requests
        self._closing = False  # the loop ends after the present requests
        self._skip_waiting = False
        self._thread = threading.Thread(target=self._run_loop, name="millpond-engine", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """The number of requests that have not ended."""
        return len(self._pending)

    @property
    def is_alive(self) -> bool:
        """True while the loop runs; false as soon as it fails, though a worker may still compute a batch."""
        return self._thread.is_alive() and not self.crash_reason

    def expected_wait(self, priority: int = 0) -> float:
        """Return the seconds until the batch of a new request starts, by measured throughput; 0.0 before the first."""
        ahead = 0
        with self._lock:
            for other, tokens in self._tokens_by_priority.items():
                if other <= priority:
                    ahead += tokens
        return self.engine.throughput.seconds_for(ahead) if ahead else 0.0

    def submit(self, requests: list[PoolingRequest]) -> None:
        """Add all requests or none; each one's ``on_done`` is called on the engine's thread.

        Requests for which ``screen`` returns an error end at once, on the caller's thread.

        Raises:
            EngineOverloadedError: If too many tokens are waiting.
            EngineClosedError: If the engine was closed.
        """
        tokens: Counter[int] = Counter()
        for request in requests:
            tokens[request.state.priority] += request.num_tokens
        with self._lock:
            if self._closed or not self.is_alive:
                reason = self.crash_reason
                raise EngineClosedError(f"the engine crashed with {reason}" if reason else "the engine is closed")
            self._check_capacity(tokens)
            refused = self.screen(requests)  # before the counters: an error of it leaves them as they were
            self.waiting_tokens += tokens.total()
            self._tokens_by_priority.update(tokens)
            self._pending.update(dict.fromkeys(requests))
            # One item, so that the first request does not start without the others.
            accepted = [request for request in requests if request not in refused] if refused else requests
            self._inbox.put(partial(self._add, accepted))
        for request, error in refused.items():
            self._end_request(request, error)

    def take_over(self, predecessor: "BackgroundEngine") -> None:
        """Use the limit and the callbacks of the engine that this one replaces."""
        self.max_wait_s, self.screen, self.on_ended = predecessor.max_wait_s, predecessor.screen, predecessor.on_ended
        self.engine.on_failure, self.engine.on_batch = predecessor.engine.on_failure, predecessor.engine.on_batch

    def cancel(self, requests: Iterable[PoolingRequest]) -> None:
        """Drop requests that are not running yet; their tokens are no longer counted as waiting."""
        for request in requests:
            request.cancel()
        self._inbox.put(self._drop_cancelled)

    def abandon(self, requests: Iterable[PoolingRequest], reason: str, *, may_be_cause: bool = False) -> None:
        """End requests in an EngineError and ignore later results: for a monitor that finds the engine hanging.

        Their ``on_done`` is called on the caller's thread.

        Args:
            requests: The requests.
            reason: The message of their error.
            may_be_cause: True if one of them may be the cause: they are reported as a failure, unless their process was
                stopped from outside.
        """
        requests = list(requests)
        stopped = self.engine.runner.stopped(requests) if may_be_cause else None
        if may_be_cause and stopped is None and any(request in self._pending for request in requests):
            self.engine.on_failure(requests)  # once: they are no longer pending if they were abandoned before
        reason = stopped or reason
        for request in requests:
            request.state.cancelled = True
            self._end_request(request, EngineError(reason))
        if may_be_cause:
            self.engine.runner.abandon(requests)

    def waiting(self) -> list[PoolingRequest]:
        """Return the requests that have not ended."""
        with self._lock:
            return list(self._pending)

    def close(self, *, finish: bool = True) -> None:
        """Stop the thread and wait until it has ended. A second call with ``finish=False`` shortens the wait.

        Args:
            finish: True to compute waiting requests first; otherwise they end in EngineClosedError.
        """
        with self._lock:
            self._closed = True
        if not finish:
            self._skip_waiting = True
        self._inbox.put(self._begin_closing)
        self._thread.join()

    def request_close(self) -> None:
        """Ask the thread to end without waiting for it; requests end in EngineClosedError.

        It takes no lock: a finalizer may call it while its thread holds any lock.
        """
        self._closed = self._skip_waiting = True
        self._inbox.put(self._begin_closing)

    def _run_loop(self) -> None:
        reason = "the engine was closed before the request was computed"
        try:
            while self.engine.num_unfinished or not self._closing:
                self._read_inbox(block=not self.engine.has_waiting or self.engine.is_full)
                if self._skip_waiting:
                    break
                ended = self.engine.step(block=False)
                if ended:
                    self.on_ended(ended)
                for request in ended:
                    self._end_request(request)
        except BaseException as error:
            self.crash_reason = quoted(error)
            reason = f"the engine crashed with {self.crash_reason}"
            raise
        finally:
            self._fail_all(reason)
            self.engine.close()

    def _read_inbox(self, *, block: bool) -> None:
        while True:
            try:
                run = self._inbox.get(block=block)
            except Empty:
                return
            run()
            block = False

    def _add(self, requests: list[PoolingRequest]) -> None:
        for request in requests:
            self.engine.add(request)

    def _drop_cancelled(self) -> None:
        for request in self.engine.drop_cancelled():
            self._end_request(request)

    def _begin_closing(self) -> None:
        self._closing = True

    def _check_capacity(self, tokens: Counter[int]) -> None:
        """Refuse a call whose tokens would exceed the limits.

        Raises:
            EngineOverloadedError: If too many tokens are waiting, or the expected wait is too long.
        """
        priority = max(tokens, default=0)
        limit = self.max_waiting_tokens if priority <= 0 else round(self.max_waiting_tokens * BATCH_PRIORITY_SHARE)
        waiting, excess = self.waiting_tokens, self.waiting_tokens + tokens.total() - limit
        if waiting and excess > 0:
            message = (
                f"{waiting} tokens are waiting, and {tokens.total()} more exceed max_waiting_tokens={limit}: "
                f"try again later"
            )
            seconds = self.engine.throughput.seconds_for(min(excess, waiting))
            raise EngineOverloadedError(message, retry_after=max(seconds, RETRY_AFTER_MIN_S) if seconds else None)
        if self.max_wait_s is None:
            return
        wait = self.expected_wait(priority)
        if wait > self.max_wait_s:
            message = f"the expected wait of {wait:.1f} s is over the limit of {self.max_wait_s:g} s: try again later"
            raise EngineOverloadedError(message, retry_after=max(wait - self.max_wait_s, RETRY_AFTER_MIN_S))

    def _end_request(self, request: PoolingRequest, error: EngineError | None = None) -> None:
        """Report the end of a request to its caller, once."""
        with self._lock:
            if request not in self._pending:
                return  # it was abandoned
            del self._pending[request]
            priority = request.state.priority
            self.waiting_tokens -= request.num_tokens
            self._tokens_by_priority[priority] -= request.num_tokens
            if not self._tokens_by_priority[priority]:
                del self._tokens_by_priority[priority]
            request.error = error or request.error
        if request.state.on_done is None:
            return
        try:
            request.state.on_done(request)
        except Exception:
            logger.exception("the on_done callback of a request failed; the engine continues")

    def _fail_all(self, reason: str) -> None:
        """End all requests, so that no caller keeps waiting after the loop has ended."""
        with self._lock:
            self._closed = True
        for request in self.waiting():
            self._end_request(request, None if request.error else EngineClosedError(reason))
        self.engine.abort()


def _wake() -> None:
    """Do nothing: the engine's thread steps after it has read its inbox."""
