"""ResultCache: looks up the results of sequences before they are computed, and stores them afterwards."""

import logging
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from millpond.loading.components import runtime_refusal, used_entries
from millpond.pipeline.cache import SHARED, Lookup
from millpond.pipeline.options import is_pooled_by_plugin
from millpond.plugin.blame import blamed_plugin
from millpond.types.errors import InvalidInputError, quoted
from millpond_cache.entries import KeyBuilder, decode_entry, encode_entry
from millpond_cache.kinds import Cache, CacheOptions
from millpond_cache.setting import CacheChoice
from millpond_recipes.model_fingerprint import fingerprint_of

if TYPE_CHECKING:
    from millpond.engine.request import PoolingRequest
    from millpond.loading.build import LoadedModel
    from millpond.pipeline.io_processor import Job
    from millpond.plugin.registry import Entry
    from millpond_cache.kinds import CacheSpec

T = TypeVar("T")
logger = logging.getLogger(__name__)


class ResultCache:
    """The results of sequences of one model, in a cache.

    Attributes:
        hits: The number of sequences whose results were found.
        misses: The number of sequences that were looked up and not found.
        requires_owner: True to cache nothing for calls without an owner; set by servers whose clients have API keys.
        quick: True if looking up a few sequences takes microseconds.
    """

    def __init__(
        self, cache: Cache, keys: KeyBuilder, entry: "Entry[CacheSpec]", uncached_tasks: Iterable[str] = ()
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.requires_owner = False
        self.quick = entry.spec.quick
        self._cache = cache
        self._keys = keys
        self._entry = entry
        self._uncached_tasks = frozenset(uncached_tasks)
        self._reported: set[str] = set()
        self._is_closed = False
        self._lock = threading.Lock()

    def look_up(self, jobs: "Iterable[Job]", owner: bytes | None = None) -> Lookup:
        """Set the results of those sequences of jobs that the cache has; the others keep their key for ``store``.

        Args:
            jobs: The jobs. Each of their sequences is looked up once, also if several calls of this method contain it.
            owner: The owner of the entries; None if the call has none.
        """
        if self._is_closed or (owner is None and self.requires_owner):
            return Lookup(0, 0)
        requests = self._new_requests(jobs)
        keys = self._keys.keys(requests, SHARED if owner is None else owner)
        keyed = [(request, key) for request, key in zip(requests, keys, strict=True) if key is not None]
        if not keyed:
            return Lookup(0, 0)
        entries = self._guarded("read", lambda: self._read([key for _, key in keyed])) or ()
        hits = 0
        for (request, key), entry in zip(keyed, entries or [None] * len(keyed), strict=False):
            request.state.cache_key = key
            hits += entry is not None and self._fill(request, key, entry)
        with self._lock:
            self.hits += hits
            self.misses += len(keyed) - hits
        return Lookup(hits, len(keyed) - hits)

    def store(self, requests: "Iterable[PoolingRequest]") -> None:
        """Store the results of computed sequences that were looked up and not found."""
        entries: dict[bytes, bytes] = {}
        for request in requests:
            key = request.state.cache_key
            is_computed = not request.is_ready and request.error is None and request.results
            if key is not None and key not in entries and is_computed:
                entries[key] = encode_entry(key, request.results)
        if entries and not self._is_closed:
            self._guarded("write", lambda: self._cache.put(list(entries.items())))

    def close(self) -> None:
        """Store what was put, and release the cache's files and threads."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._guarded("close", self._cache.close)

    def _new_requests(self, jobs: "Iterable[Job]") -> "list[PoolingRequest]":
        """Return the sequences that were not looked up yet.

        A sequence of several jobs, such as a query, may be in the engine already: it must not be changed then.
        """
        requests: dict[PoolingRequest, None] = {}
        for job in jobs:
            for request in job.sequences:
                if not (request.is_ready or request.state.cache_key or request.state.owner) and self._is_cached(
                    request
                ):
                    requests[request] = None
        return list(requests)

    def _is_cached(self, request: "PoolingRequest") -> bool:
        if not request.cacheable or not request.representations:
            return False
        if not self._uncached_tasks:
            return True
        return all(representation.task not in self._uncached_tasks for representation in request.representations)

    def _fill(self, request: "PoolingRequest", key: bytes, entry: bytes) -> bool:
        arrays = decode_entry(key, entry)
        if arrays is None or len(arrays) != len(request.representations):
            self._report("damaged", "an entry of the %s is damaged; its result is computed again", self._entry.label)
            return False
        request.results = arrays
        request.is_ready = True
        return True

    def _read(self, keys: list[bytes]) -> list[bytes | None]:
        entries = list(islice(self._cache.get(keys), len(keys) + 1))  # it may never end
        if len(entries) != len(keys) or not all(isinstance(entry, bytes | None) for entry in entries):
            raise TypeError("get must return one value for each key, of type bytes, or None")
        return entries

    def _guarded(self, action: str, function: Callable[[], T]) -> T | None:
        """Call the cache. Its errors are logged once: results do not depend on it."""
        try:
            return function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
            self._report(action, "the %s failed to %s: %s", self._entry.label, action, quoted(error))
            return None

    def _report(self, problem: str, message: str, *values: object) -> None:
        with self._lock:
            is_new = problem not in self._reported
            self._reported.add(problem)
        if is_new:
            logger.warning(message, *values)


def open_results(choice: CacheChoice, loaded: "LoadedModel", devices: Iterable[str]) -> ResultCache:
    """Open the cache of a loaded model.

    Args:
        choice: The cache that the settings name.
        loaded: The model.
        devices: The devices of its engine processes, if the caller chose them.

    Raises:
        InvalidInputError: If the cache cannot be used with this model, address or size.
        CheckpointError: If a file of the model has changed since it was loaded.
        ComponentError: If the cache of a plugin fails.
    """
    spec = choice.entry.spec
    refusal = runtime_refusal(used_entries(loaded)) if spec.persistent else None
    if refusal is not None:
        message = f"cache={spec.name!r} is used by other processes: {refusal} Or use cache='memory'"
        raise InvalidInputError(message, parameter="cache")
    fingerprint = fingerprint_of(loaded, devices)
    loaded.layers.repository.require_unchanged()  # the hash is that of the loaded weights
    keys = KeyBuilder(fingerprint, all_fields=is_pooled_by_plugin(loaded.context))
    options = CacheOptions(
        address=choice.address, max_bytes=choice.max_bytes, model=loaded.context.model.model, fingerprint=fingerprint
    )
    with blamed_plugin(choice.entry, "failed to open"):
        cache: Cache = choice.entry.load()(options)
    return ResultCache(cache, keys, choice.entry, _uncached_tasks(loaded))


def _uncached_tasks(loaded: "LoadedModel") -> list[str]:
    """Return the tasks whose poolers, or whose model, declare ``cacheable = False``."""
    model = loaded.model
    poolers = model.poolers.items()
    return [task for task, pooler in poolers if not (model.cacheable and getattr(pooler, "cacheable", True))]
