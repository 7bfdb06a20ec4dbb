"""BackgroundEngine: steps the engine in its own thread, for callers that must not block."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from millpond.engine.engine import Engine
from millpond.engine.executor import Executor
from millpond.engine.failing_inputs import FailingInputs
from millpond.engine.request import PoolingRequest
from millpond.types.config import EngineConfig
from millpond.types.errors import BlockedInputError, EngineClosedError, EngineError, EngineOverloadedError, quoted

logger = logging.getLogger(__name__)
CLOSE, DROP_CANCELLED = object(), object()
# Share of max_waiting_tokens that requests with a priority above 0 may fill; the rest is reserved for the others.
BATCH_PRIORITY_SHARE = 0.75
RETRY_AFTER_MIN_S = 0.05


class BackgroundEngine:
    """An engine that runs in its own thread: ``submit`` adds requests, their ``on_done`` is called when they end.

    Attributes:
        engine: The engine.
        max_wait_s: Requests with a longer expected wait, in seconds, are refused; None for no limit.
        failing_inputs: The inputs that the model failed on; pass it to the engine that replaces a crashed one.
    """

    def __init__(self, runner: Executor, config: EngineConfig, failing_inputs: FailingInputs | None = None) -> None:
        self._inbox: SimpleQueue[list[PoolingRequest] | object | None] = SimpleQueue()
        self.engine = Engine(runner, config, notify=lambda: self._inbox.put(None))
        self.failing_inputs = FailingInputs() if failing_inputs is None else failing_inputs
        self.engine.on_failure = self.failing_inputs.record
        self.max_wait_s: float | None = None
        self._max_waiting_tokens = config.max_waiting_tokens
        self._lock = threading.Lock()
        self._tokens = 0
        self._tokens_by_priority: Counter[int] = Counter()
        self._crash_reason = ""
        self._pending: dict[PoolingRequest, None] = {}
        self._closed = False
        self._skip_waiting = False
        self._thread = threading.Thread(target=self._run_loop, name="millpond-engine", daemon=True)
        self._thread.start()

    @property
    def waiting_tokens(self) -> int:
        """The tokens of all requests that have not ended."""
        return self._tokens

    @property
    def max_waiting_tokens(self) -> int:
        """The maximum number of tokens that may wait."""
        return self._max_waiting_tokens

    @property
    def pending(self) -> int:
        """The number of requests that have not ended."""
        return len(self._pending)

    @property
    def is_alive(self) -> bool:
        """True while the loop runs; false as soon as it fails, though a worker may still compute a batch."""
        return self._thread.is_alive() and not self._crash_reason

    @property
    def crash_reason(self) -> str:
        """The exception that stopped the loop; empty while it runs or after a normal close."""
        return self._crash_reason

    def expected_wait(self, priority: int = 0) -> float:
        """Return the seconds until the batch of a new request starts, by measured throughput; 0.0 before the first."""
        with self._lock:
            return self._expected_wait(priority)

    def submit(self, requests: list[PoolingRequest]) -> None:
        """Add all requests or none; each one's ``on_done`` is called on the engine's thread.

        Inputs that the model failed on recently end in BlockedInputError at once, on the caller's thread.

        Raises:
            EngineOverloadedError: If too many tokens are waiting.
            EngineClosedError: If the engine was closed.
        """
        tokens: Counter[int] = Counter()
        for request in requests:
            tokens[request.state.priority] += request.num_tokens
        blocked: dict[PoolingRequest, EngineError] = {}
        with self._lock:
            if self._closed or not self.is_alive:
                reason = self._crash_reason
                raise EngineClosedError(f"the engine crashed with {reason}" if reason else "the engine is closed")
            self._check_capacity(tokens)
            self._tokens += tokens.total()
            self._tokens_by_priority.update(tokens)
            self._pending.update(dict.fromkeys(requests))
            if self.failing_inputs.token_ids:
                blocked = self._blocked(requests)
            # One item, so that the first request does not start without the others.
            self._inbox.put([request for request in requests if request not in blocked])
        for request, error in blocked.items():
            self._end_request(request, error)

    def cancel(self, requests: Iterable[PoolingRequest]) -> None:
        """Drop requests that are not running yet; their tokens are no longer counted as waiting."""
        for request in requests:
            request.cancel()
        self._inbox.put(DROP_CANCELLED)

    def abandon(self, requests: Iterable[PoolingRequest], reason: str, *, may_be_cause: bool = False) -> None:
        """End requests in an EngineError and ignore later results: for a monitor that finds the engine hanging.

        Their ``on_done`` is called on the caller's thread.

        Args:
            requests: The requests.
            reason: The message of their error.
            may_be_cause: True if one of them may be the cause: they are recorded as failing inputs, unless their
                process was stopped from outside.
        """
        requests = list(requests)
        stopped = self.engine.runner.stopped(requests) if may_be_cause else None
        if may_be_cause and stopped is None and any(request in self._pending for request in requests):
            self.failing_inputs.record(requests)  # once: they are no longer pending if they were abandoned before
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
        self._inbox.put(CLOSE)
        self._thread.join()

    def request_close(self) -> None:
        """Ask the thread to end without waiting for it; requests end in EngineClosedError.

        It takes no lock: a finalizer may call it while its thread holds any lock.
        """
        self._closed = self._skip_waiting = True
        self._inbox.put(CLOSE)

    def _run_loop(self) -> None:
        closing = False
        reason = "the engine was closed before the request was computed"
        try:
            while not (closing and not self.engine.has_work):
                closing |= self._read_inbox(block=not self.engine.has_waiting or self.engine.is_full)
                if self._skip_waiting:
                    break
                ended = self.engine.step(block=False)
                if self.failing_inputs.token_ids:
                    self.failing_inputs.clear_computed(ended)
                for request in ended:
                    self._end_request(request)
        except BaseException as error:
            self._crash_reason = quoted(error)
            reason = f"the engine crashed with {self._crash_reason}"
            raise
        finally:
            self._fail_all(reason)
            self.engine.close()

    def _read_inbox(self, *, block: bool) -> bool:
        """Move requests from the inbox into the engine; return True if the loop should close."""
        closing = False
        while True:
            try:
                item = self._inbox.get(block=block)
            except Empty:
                return closing
            block = False
            if item is DROP_CANCELLED:
                for request in self.engine.drop_cancelled():
                    self._end_request(request)
            for request in item if isinstance(item, list) else ():
                self.engine.add(request)
            closing |= item is CLOSE

    def _blocked(self, requests: Iterable[PoolingRequest]) -> dict[PoolingRequest, EngineError]:
        """Return the requests whose input the model failed on recently, with the error of each."""
        blocked: dict[PoolingRequest, EngineError] = {}
        for request in requests:
            seconds = self.failing_inputs.seconds_left(request)
            if seconds > 0:
                message = f"the model failed on this input: it is not tried again for {seconds:.0f} s"
                blocked[request] = BlockedInputError(message)
        return blocked

    def _check_capacity(self, tokens: Counter[int]) -> None:
        """Refuse a call whose tokens would exceed the limits.

        Raises:
            EngineOverloadedError: If too many tokens are waiting, or the expected wait is too long.
        """
        priority = max(tokens, default=0)
        limit = self._max_waiting_tokens if priority <= 0 else round(self._max_waiting_tokens * BATCH_PRIORITY_SHARE)
        throughput = self.engine.throughput
        if self._tokens and self._tokens + tokens.total() > limit:
            excess = min(self._tokens + tokens.total() - limit, self._tokens)
            message = (
                f"{self._tokens} tokens are waiting, and {tokens.total()} more exceed max_waiting_tokens={limit}: "
                f"try again later"
            )
            retry_after = max(throughput.seconds_for(excess), RETRY_AFTER_MIN_S) if throughput.rate else None
            raise EngineOverloadedError(message, retry_after=retry_after)
        wait = self._expected_wait(priority)
        if self.max_wait_s is not None and wait > self.max_wait_s:
            message = f"the expected wait of {wait:.1f} s is over the limit of {self.max_wait_s:g} s: try again later"
            raise EngineOverloadedError(message, retry_after=max(wait - self.max_wait_s, RETRY_AFTER_MIN_S))

    def _expected_wait(self, priority: int) -> float:
        tokens_ahead = 0
        for other, tokens in self._tokens_by_priority.items():
            tokens_ahead += tokens if other <= priority else 0
        return self.engine.throughput.seconds_for(tokens_ahead)

    def _end_request(self, request: PoolingRequest, error: EngineError | None = None) -> None:
        """Report the end of a request to its caller, once."""
        with self._lock:
            if request not in self._pending:
                return  # it was abandoned
            del self._pending[request]
            priority = request.state.priority
            self._tokens -= request.num_tokens
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
