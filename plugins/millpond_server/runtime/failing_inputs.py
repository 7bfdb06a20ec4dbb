"""FailingInputs: inputs that a model failed on, blocked for some time."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from millpond.engine.background import BackgroundEngine
from millpond.engine.request import PoolingRequest
from millpond.types.errors import BlockedInputError, EngineError

MAX_ENTRIES = 2000  # the oldest are dropped


class Entry(NamedTuple):
    """A kept input: the time until which it is kept, its token ids, and True if it is blocked, not only possible."""

    until: float
    ids: bytes
    is_blocked: bool


class FailingInputs:
    """The inputs that a model failed on, each kept for some seconds. Thread-safe.

    An input that failed alone is blocked. If a batch hung or stopped the engine, any of its inputs may be the cause:
    each runs in a batch of one request until it succeeds or fails.

    Attributes:
        seconds: The time for which an input is kept; 0 to keep none.
        token_ids: The token ids of all kept inputs, for a quick check that most requests pass.
    """

    def __init__(self, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._entries: dict[bytes, Entry] = {}  # oldest first
        self.token_ids: frozenset[bytes] = frozenset()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def attach(self, engine: BackgroundEngine) -> None:
        """Record the failing inputs of an engine, and block them there."""
        engine.screen, engine.on_ended, engine.engine.on_failure = self.blocked, self.clear_computed, self.record

    def blocked(self, requests: Sequence[PoolingRequest]) -> dict[PoolingRequest, EngineError]:
        """Return the requests whose input the model failed on recently, with the error of each."""
        errors: dict[PoolingRequest, EngineError] = {}
        for request in requests if self.token_ids else ():
            seconds = self.seconds_left(request)
            if seconds > 0:
                message = f"the model failed on this input: it is not tried again for {seconds:.0f} s"
                errors[request] = BlockedInputError(message)
        return errors

    def record(self, requests: Iterable[PoolingRequest]) -> None:
        """Keep the requests of a batch that failed finally: block a single one, and run several in separate batches."""
        if self.seconds <= 0:
            return
        token_ids = {fingerprint(request): request.input_ids.tobytes() for request in requests}
        with self._lock:
            until = self._clock() + self.seconds
            for key, ids in token_ids.items():
                if key is not None:
                    previous = self._entries.pop(key, None)
                    is_blocked = len(token_ids) == 1 or (previous is not None and previous.is_blocked)
                    self._entries[key] = Entry(until, ids, is_blocked)
            while len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._index()

    def clear_computed(self, requests: Iterable[PoolingRequest]) -> None:
        """Remove the inputs of requests that were computed successfully."""
        if not self.token_ids:
            return
        keys = {fingerprint(request) for request in requests if request.results and self._may_know(request)}
        if not keys:
            return
        with self._lock:
            for key in self._entries.keys() & keys:
                del self._entries[key]
            self._index()

    def seconds_left(self, request: PoolingRequest) -> float:
        """Return the seconds for which a request stays blocked, 0.0 if it is not.

        A request that may fail gets its own group, so that it shares no batch.
        """
        if not self._may_know(request) or (key := fingerprint(request)) is None:
            return 0.0
        with self._lock:
            now = self._clock()
            while self._entries and next(iter(self._entries.values())).until <= now:
                del self._entries[next(iter(self._entries))]
            self._index()
            entry = self._entries.get(key)
        if entry is None or entry.is_blocked:
            return 0.0 if entry is None else entry.until - now
        request.group = f"{request.group} {key.hex()}"
        return 0.0

    def _may_know(self, request: PoolingRequest) -> bool:
        return request.input_ids.tobytes() in self.token_ids

    def _index(self) -> None:
        self.token_ids = frozenset(entry.ids for entry in self._entries.values())


def fingerprint(request: PoolingRequest) -> bytes | None:
    """Return a digest of an input and its requested representations; None if a feature is not an array."""
    types = request.token_type_ids
    digest = hashlib.sha256(request.input_ids.tobytes())
    digest.update(b"" if types is None else types.tobytes())
    for task, params, span in request.representations:
        digest.update(repr((task, span, params)).encode())
    for name, feature in sorted(request.features.items()):
        array = np.asarray(feature)
        if array.dtype.hasobject:
            return None
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.digest()
