"""EngineThread: turns the engine in a thread of its own, for callers that must not block."""

import logging
import threading
from queue import Empty, SimpleQueue

from millpond.config import EngineConfig
from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Runner
from millpond.errors import EngineClosedError, EngineOverloadedError

logger = logging.getLogger(__name__)
CLOSE = object()


class EngineThread:
    """The online turner of the loop: requests in by ``submit``, out by their ``on_done``."""

    def __init__(self, runner: Runner, config: EngineConfig) -> None:
        self.engine = Engine(runner, config, notify=lambda: self._inbox.put(None))
        self._inbox: SimpleQueue[list[PoolingRequest] | object | None] = SimpleQueue()
        self._most_tokens = config.max_waiting_tokens
        self._lock = threading.Lock()
        self._tokens = 0
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
        """Whether the loop turns."""
        return self._thread.is_alive()

    def submit(self, requests: list[PoolingRequest]) -> None:
        """Hand over requests, all or none; each one's ``on_done`` is called on the engine's thread.

        Raises:
            EngineOverloadedError: If too many tokens wait already.
            EngineClosedError: If the engine was closed.
        """
        tokens = sum(request.num_tokens for request in requests)
        with self._lock:
            if self._closed or not self._thread.is_alive():
                message = "the engine is closed"
                raise EngineClosedError(message)
            if self._tokens and self._tokens + tokens > self._most_tokens:
                message = (
                    f"{self._tokens} tokens wait already, and {tokens} more are over max_waiting_tokens="
                    f"{self._most_tokens}: try again later"
                )
                raise EngineOverloadedError(message)
            self._tokens += tokens
            self._pending.update(dict.fromkeys(requests))
            self._inbox.put(list(requests))  # at once, so that the first of them does not start without the others

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
                for request in self.engine.step(block=False):
                    self._let_go(request)
        except BaseException as error:
            reason = f"the engine has died of {type(error).__name__}: {error}"
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
            for request in item if isinstance(item, list) else ():
                self.engine.add(request)
            closing |= item is CLOSE

    def _let_go(self, request: PoolingRequest) -> None:
        with self._lock:
            self._tokens -= request.num_tokens
            self._pending.pop(request, None)
        if request.on_done is None:
            return
        try:
            request.on_done(request)
        except Exception:
            logger.exception("a caller failed to take its result; the engine goes on")

    def _fail_all(self, reason: str) -> None:
        """No caller is left waiting, whatever ended the loop."""
        with self._lock:
            self._closed = True
            left = list(self._pending)
        for request in left:
            request.error = request.error or EngineClosedError(reason)
            self._let_go(request)
        self.engine.abort()
