"""Quarantine: inputs that a model failed on, which for a while are not tried again, however often somebody asks."""

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


class Quarantine:
    """What a model failed on, for so many seconds.

    An input that failed alone is blocked. Of a batch that hung, or took the engine with it, it is not known which one
    did it: they are suspects, and each is computed alone until it has been computed, or is found guilty. Any thread may
    call it.

    Attributes:
        seconds: How long an input is kept; 0 for no quarantine.
    """

    def __init__(self, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._blocked: dict[bytes, Entry] = {}  # oldest first
        self._suspects: dict[bytes, Entry] = {}
        self._ids: frozenset[bytes] = frozenset()  # of both: most requests are told from them by these alone
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocked) + len(self._suspects)

    def accuse(self, requests: Iterable[PoolingRequest]) -> None:
        """Keep the requests of a batch that failed for good: one is guilty, of several one or another."""
        if self.seconds <= 0:
            return
        found = {fingerprint(request): request.input_ids.tobytes() for request in requests}
        with self._lock:
            into = self._blocked if len(found) == 1 else self._suspects
            until = self._clock() + self.seconds
            for key, ids in found.items():
                if key is not None:
                    self._suspects.pop(key, None)
                    into.pop(key, None)
                    into[key] = Entry(until, ids)
            while len(into) > MOST:
                del into[next(iter(into))]
            self._index()

    def acquit(self, requests: Iterable[PoolingRequest]) -> None:
        """Forget what was computed after all."""
        keys = {fingerprint(request) for request in requests if request.results and self._may_know(request)}
        if not keys:
            return
        with self._lock:
            for kept in (self._blocked, self._suspects):
                for key in kept.keys() & keys:
                    del kept[key]
            self._index()

    def seconds_left(self, request: PoolingRequest) -> float:
        """For how long a request is blocked, 0.0 if it is not; a suspect is put into a group of its own."""
        if not self._may_know(request) or (key := fingerprint(request)) is None:
            return 0.0
        with self._lock:
            now = self._clock()
            for kept in (self._blocked, self._suspects):
                while kept and next(iter(kept.values())).until <= now:
                    del kept[next(iter(kept))]
            self._index()
            if key in self._suspects:
                request.group = f"{request.group} {key.hex()}"
            entry = self._blocked.get(key)
            return 0.0 if entry is None else entry.until - now

    def _may_know(self, request: PoolingRequest) -> bool:
        return bool(self._ids) and request.input_ids.tobytes() in self._ids

    def _index(self) -> None:
        self._ids = frozenset(entry.ids for kept in (self._blocked, self._suspects) for entry in kept.values())


def fingerprint(request: PoolingRequest) -> bytes | None:
    """What an input and what is asked of it are known by again; None where it has features that are no arrays."""
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
