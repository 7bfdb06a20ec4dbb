"""BackgroundEngine: steps the engine in a thread of its own, for callers that must not block."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from millpond.engine.engine import Engine
from millpond.engine.failing_inputs import FailingInputs
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Runner
from millpond.types.config import EngineConfig
from millpond.types.errors import BlockedInputError, EngineClosedError, EngineError, EngineOverloadedError

logger = logging.getLogger(__name__)
CLOSE, DROP = object(), object()
PATIENT_SHARE = 0.75  # of the tokens that may wait, for what has a priority above 0: the rest is kept for the others
SOON = 0.05  # seconds; less is no time to wait before trying again


class BackgroundEngine:
    """An engine in a thread: requests enter by ``submit`` and leave by their ``on_done``.

    Attributes:
        engine: The engine.
        most_seconds: Requests that would have to wait longer than this are refused; None for no such limit.
        failing_inputs: The inputs that the model failed on; a successor of an engine that has failed may take it over.
    """

    def __init__(self, runner: Runner, config: EngineConfig, failing_inputs: FailingInputs | None = None) -> None:
        self.engine = Engine(runner, config, notify=lambda: self._inbox.put(None))
        self.failing_inputs = FailingInputs() if failing_inputs is None else failing_inputs
        self.engine.on_failure = self.failing_inputs.record
        self._inbox: SimpleQueue[list[PoolingRequest] | object | None] = SimpleQueue()
        self.most_seconds: float | None = None
        self._most_tokens = config.max_waiting_tokens
        self._lock = threading.Lock()
        self._tokens = 0
        self._tokens_of: Counter[int] = Counter()  # by priority
        self._ended_of = ""  # why the loop has ended
        self._pending: dict[PoolingRequest, None] = {}
        self._closed = False
        self._abandon = False
        self._thread = threading.Thread(target=self._turn, name="millpond-engine", daemon=True)
        self._thread.start()

    @property
    def waiting_tokens(self) -> int:
        """The tokens of all requests that have not ended."""
        return self._tokens

    @property
    def most_waiting_tokens(self) -> int:
        """How many tokens may wait."""
        return self._most_tokens

    @property
    def pending(self) -> int:
        """How many requests have not ended."""
        return len(self._pending)

    @property
    def is_alive(self) -> bool:
        """True while the loop runs; false as soon as it fails, though a worker may still compute a batch."""
        return self._thread.is_alive() and not self._ended_of

    @property
    def has_died(self) -> str:
        """The exception that stopped the loop; empty while it runs or after a normal close."""
        return self._ended_of

    def expected_wait(self, priority: int = 0) -> float:
        """How many seconds a request would wait for its batch by what was measured; 0.0 where nothing was yet."""
        with self._lock:
            return self._wait_behind(priority)

    def submit(self, requests: list[PoolingRequest]) -> None:
        """Hand over requests, all or none; each one's ``on_done`` is called on the engine's thread.

        Those on which the model has just failed end in BlockedInputError at once, on the caller's thread.

        Raises:
            EngineOverloadedError: If too many tokens wait already.
            EngineClosedError: If the engine was closed.
        """
        tokens: Counter[int] = Counter()
        for request in requests:
            tokens[request.state.priority] += request.num_tokens
        blocked: dict[PoolingRequest, EngineError] = {}
        with self._lock:
            if self._closed or not self.is_alive:
                message = f"the engine has died of {self._ended_of}" if self._ended_of else "the engine is closed"
                raise EngineClosedError(message)
            self._check_room(tokens)
            self._tokens += tokens.total()
            self._tokens_of.update(tokens)
            self._pending.update(dict.fromkeys(requests))
            if len(self.failing_inputs):
                blocked = self._blocked(requests)
            # At once, so that the first of them does not start without the others.
            self._inbox.put([request for request in requests if request not in blocked])
        for request, error in blocked.items():
            self._let_go(request, error)

    def cancel(self, requests: Iterable[PoolingRequest]) -> None:
        """Drop requests that do not run yet, at once: what they hold of the room is free for others."""
        for request in requests:
            request.cancel()
        self._inbox.put(DROP)

    def give_up(self, requests: Iterable[PoolingRequest], reason: str, *, suspected: bool = False) -> None:
        """End requests in an EngineError, whatever the engine may still make of them: for who finds that it hangs.

        Their ``on_done`` is called on the caller's thread.

        Args:
            requests: What is given up.
            reason: What its callers are told.
            suspected: Whether one of them is the cause.
        """
        requests = list(requests)
        if suspected and any(request in self._pending for request in requests):  # else it was given up before
            self.failing_inputs.record(requests)
        for request in requests:
            request.state.cancelled = True
            self._let_go(request, EngineError(reason))

    def waiting(self) -> list[PoolingRequest]:
        """The requests that have not ended."""
        with self._lock:
            return list(self._pending)

    def close(self, *, finish: bool = True) -> None:
        """End the thread, and wait until it has ended; a second call may still hurry it.

        Args:
            finish: Whether what waits is computed first; else it ends in EngineClosedError.
        """
        with self._lock:
            self._closed = True
        if not finish:
            self._abandon = True
        self._inbox.put(CLOSE)
        self._thread.join()

    def _turn(self) -> None:
        closing = False
        reason = "the engine was closed before the request was computed"
        try:
            while not (closing and not self.engine.has_work):
                closing |= self._take_in(block=not self.engine.has_waiting or self.engine.is_full)
                if self._abandon:
                    break
                ended = self.engine.step(block=False)
                self.failing_inputs.clear_computed(ended)
                for request in ended:
                    self._let_go(request)
        except BaseException as error:
            self._ended_of = f"{type(error).__name__}: {error}"
            reason = f"the engine has died of {self._ended_of}"
            raise
        finally:
            self._fail_all(reason)
            self.engine.close()

    def _take_in(self, *, block: bool) -> bool:
        """Move the inbox into the engine; whether the end was asked for."""
        closing = False
        while True:
            try:
                item = self._inbox.get(block=block)
            except Empty:
                return closing
            block = False
            if item is DROP:
                for request in self.engine.drop_cancelled():
                    self._let_go(request)
            for request in item if isinstance(item, list) else ():
                self.engine.add(request)
            closing |= item is CLOSE

    def _blocked(self, requests: Iterable[PoolingRequest]) -> dict[PoolingRequest, EngineError]:
        """Those on which the model has just failed, with what their callers are told."""
        blocked: dict[PoolingRequest, EngineError] = {}
        for request in requests:
            seconds = self.failing_inputs.seconds_left(request)
            if seconds > 0:
                message = f"the model has failed on this input: it is not tried again for {seconds:.0f} s"
                blocked[request] = BlockedInputError(message)
        return blocked

    def _check_room(self, tokens: Counter[int]) -> None:
        """Refuse a call that does not fit beside what waits."""
        priority = max(tokens, default=0)
        most = self._most_tokens if priority <= 0 else round(self._most_tokens * PATIENT_SHARE)
        if self._tokens and self._tokens + tokens.total() > most:
            excess = min(self._tokens + tokens.total() - most, self._tokens)
            message = (
                f"{self._tokens} tokens wait already, and {tokens.total()} more are over max_waiting_tokens={most}: "
                f"try again later"
            )
            later = max(self.engine.throughput.seconds_for(excess), SOON) if self.engine.throughput.rate else None
            raise EngineOverloadedError(message, retry_after=later)
        wait = self._wait_behind(priority)
        if self.most_seconds is not None and wait > self.most_seconds:
            message = f"it would have to wait for {wait:.1f} s, more than {self.most_seconds:g} s: try again later"
            raise EngineOverloadedError(message, retry_after=max(wait - self.most_seconds, SOON))

    def _wait_behind(self, priority: int) -> float:
        ahead = sum(tokens for own, tokens in self._tokens_of.items() if own <= priority)
        return self.engine.throughput.seconds_for(ahead)

    def _let_go(self, request: PoolingRequest, error: EngineError | None = None) -> None:
        """Tell the caller that a request has ended, once."""
        with self._lock:
            if request not in self._pending:
                return  # it was given up
            del self._pending[request]
            self._tokens -= request.num_tokens
            self._tokens_of[request.state.priority] -= request.num_tokens
            if not self._tokens_of[request.state.priority]:
                del self._tokens_of[request.state.priority]
            request.error = error or request.error
        if request.state.on_done is None:
            return
        try:
            request.state.on_done(request)
        except Exception:
            logger.exception("a caller failed to take its result; the engine goes on")

    def _fail_all(self, reason: str) -> None:
        """No caller is left waiting, whatever ended the loop."""
        with self._lock:
            self._closed = True
        for request in self.waiting():
            self._let_go(request, None if request.error else EngineClosedError(reason))
        self.engine.abort()
