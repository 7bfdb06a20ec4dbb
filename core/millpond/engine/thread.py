"""EngineThread: turns the engine in a thread of its own, for callers that must not block."""

import threading
from queue import Empty, SimpleQueue

from millpond.config import EngineConfig
from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Runner
from millpond.errors import EngineClosedError, EngineOverloadedError

CLOSE = object()


class EngineThread:
    """The online turner of the loop: requests in by ``submit``, out by their ``on_done``."""

    def __init__(self, runner: Runner, config: EngineConfig) -> None:
        self.engine = Engine(runner, config, notify=lambda: self._inbox.put(None))
        self._inbox: SimpleQueue[PoolingRequest | object | None] = SimpleQueue()
        self._most_tokens = config.max_waiting_tokens
        self._lock = threading.Lock()
        self._tokens = 0
        self._closed = False
        self._abandon = False
        self._thread = threading.Thread(target=self._turn, name="millpond-engine", daemon=True)
        self._thread.start()

    @property
    def waiting_tokens(self) -> int:
        """The tokens of all requests that have not ended."""
        return self._tokens

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
            for request in requests:
                self._inbox.put(request)

    def close(self, *, finish: bool = True) -> None:
        """End the thread.

        Args:
            finish: Whether what waits is computed first; else it ends in EngineClosedError.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if not finish:
            self._abandon = True
        self._inbox.put(CLOSE)
        self._thread.join()
        self.engine.close()

    def _turn(self) -> None:
        closing = False
        try:
            while not (closing and not self.engine.has_work):
                closing |= self._take_in(block=not self.engine.has_waiting or self.engine.is_full)
                if self._abandon:
                    break
                for request in self.engine.step(block=False):
                    self._let_go(request)
        finally:
            self._fail_all()

    def _take_in(self, *, block: bool) -> bool:
        """Move the inbox into the engine; whether the end was asked for."""
        closing = False
        while True:
            try:
                item = self._inbox.get(block=block)
            except Empty:
                return closing
            block = False
            if isinstance(item, PoolingRequest):
                self.engine.add(item)
            closing |= item is CLOSE

    def _let_go(self, request: PoolingRequest) -> None:
        with self._lock:
            self._tokens -= request.num_tokens
        if request.on_done is not None:
            request.on_done(request)

    def _fail_all(self) -> None:
        """No caller is left waiting, whatever ended the loop."""
        with self._lock:
            self._closed = True
        self._take_in(block=False)
        left = self.engine.abort()
        for request in left:
            request.error = request.error or EngineClosedError("the engine was closed before the request was computed")
            self._let_go(request)
