"""FailingInputs: inputs that a model failed on, which are not tried again for a while."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from millpond.engine.request import PoolingRequest

MOST = 1000  # inputs of a kind; of more, the oldest are forgotten


class Entry(NamedTuple):
    """Until when an input is kept, and its token ids."""

    until: float
    ids: bytes


class FailingInputs:
    """The inputs that a model failed on, each kept for some seconds.

    An input that failed alone is blocked. If a batch hung or stopped the engine, any of its inputs may be the cause:
    each is computed alone until it has been computed, or has failed. Any thread may call it.

    Attributes:
        seconds: How long an input is kept; 0 to keep none.
    """

    def __init__(self, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._blocked: dict[bytes, Entry] = {}  # oldest first
        self._possible: dict[bytes, Entry] = {}
        self._ids: frozenset[bytes] = frozenset()  # of both: most requests are told from them by these alone
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocked) + len(self._possible)

    def record(self, requests: Iterable[PoolingRequest]) -> None:
        """Keep the requests of a batch that failed for good: a single one failed, of several any may have."""
        if self.seconds <= 0:
            return
        found = {fingerprint(request): request.input_ids.tobytes() for request in requests}
        with self._lock:
            into = self._blocked if len(found) == 1 else self._possible
            until = self._clock() + self.seconds
            for key, ids in found.items():
                if key is not None:
                    self._possible.pop(key, None)
                    into.pop(key, None)
                    into[key] = Entry(until, ids)
            while len(into) > MOST:
                del into[next(iter(into))]
            self._index()

    def clear_computed(self, requests: Iterable[PoolingRequest]) -> None:
        """Forget the requests that were computed after all."""
        keys = {fingerprint(request) for request in requests if request.results and self._may_know(request)}
        if not keys:
            return
        with self._lock:
            for kept in (self._blocked, self._possible):
                for key in kept.keys() & keys:
                    del kept[key]
            self._index()

    def seconds_left(self, request: PoolingRequest) -> float:
        """The seconds for which a request is blocked, 0.0 for none; one that may fail gets a group of its own."""
        if not self._may_know(request) or (key := fingerprint(request)) is None:
            return 0.0
        with self._lock:
            now = self._clock()
            for kept in (self._blocked, self._possible):
                while kept and next(iter(kept.values())).until <= now:
                    del kept[next(iter(kept))]
            self._index()
            if key in self._possible:
                request.group = f"{request.group} {key.hex()}"
            entry = self._blocked.get(key)
            return 0.0 if entry is None else entry.until - now

    def _may_know(self, request: PoolingRequest) -> bool:
        return bool(self._ids) and request.input_ids.tobytes() in self._ids

    def _index(self) -> None:
        self._ids = frozenset(entry.ids for kept in (self._blocked, self._possible) for entry in kept.values())


def fingerprint(request: PoolingRequest) -> bytes | None:
    """The digest of an input and of what is wanted of it; None for features that are not arrays."""
    types = request.token_type_ids
    known = hashlib.sha256(request.input_ids.tobytes())
    known.update(b"" if types is None else types.tobytes())
    for task, params, span in request.representations:
        known.update(repr((task, span, params)).encode())
    for name, feature in sorted(request.features.items()):
        array = np.asarray(feature)
        if array.dtype.hasobject:
            return None
        known.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return known.digest()
