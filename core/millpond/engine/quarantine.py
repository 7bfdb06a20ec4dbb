"""Quarantine: inputs that a model failed on, which for a while are not tried again, however often somebody asks."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np

from millpond.engine.request import PoolingRequest

MOST = 10_000  # inputs; of more, the oldest are forgotten


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
        self._blocked: dict[bytes, float] = {}  # until when, oldest first
        self._suspects: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocked) + len(self._suspects)

    def accuse(self, requests: Iterable[PoolingRequest]) -> None:
        """Keep the requests of a batch that failed for good: one is guilty, of several one or another."""
        if self.seconds <= 0:
            return
        found = {fingerprint(request) for request in requests}
        keys = {key for key in found if key is not None}
        with self._lock:
            into = self._blocked if len(found) == 1 else self._suspects
            until = self._clock() + self.seconds
            for key in keys:
                self._suspects.pop(key, None)
                into.pop(key, None)
                into[key] = until
            while len(into) > MOST:
                del into[next(iter(into))]

    def acquit(self, requests: Iterable[PoolingRequest]) -> None:
        """Forget what was computed after all."""
        if not len(self):
            return
        keys = {fingerprint(request) for request in requests if request.results}
        with self._lock:
            for kept in (self._blocked, self._suspects):
                for key in kept.keys() & keys:
                    del kept[key]

    def seconds_left(self, request: PoolingRequest) -> float:
        """For how long a request is blocked, 0.0 if it is not; a suspect is put into a group of its own."""
        if not len(self) or (key := fingerprint(request)) is None:
            return 0.0
        with self._lock:
            now = self._clock()
            for kept in (self._blocked, self._suspects):
                while kept and next(iter(kept.values())) <= now:
                    del kept[next(iter(kept))]
            if key in self._suspects:
                request.group = f"{request.group} {key.hex()}"
            return max(self._blocked.get(key, now) - now, 0.0)


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
