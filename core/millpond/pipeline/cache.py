"""The contracts of caches of results, and the cache that a setting names."""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple, Protocol

from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.engine.request import PoolingRequest
    from millpond.loading.build import LoadedModel
    from millpond.pipeline.io_processor import Job
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import CacheSpec

SHARED = b""  # the owner of the entries of calls without an owner

cache_owner: ContextVar[bytes | None] = ContextVar("cache_owner", default=None)
"""The owner of the entries of a call, such as the hash of an API key; owners share no entries."""

bypass_cache: ContextVar[bool] = ContextVar("bypass_cache", default=False)
"""True for online calls that must be computed, such as those that warm up a model."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The options that a cache is opened with.

    Attributes:
        address: The text after the scheme, such as the path of a folder; may be empty.
        max_bytes: The maximum size; None for the default of the cache.
        model: The name of the model, for reports.
        fingerprint: The hash of everything that the model's results depend on beside their sequences. It is part of
            each key.
    """

    address: str
    max_bytes: int | None = None
    model: str = ""
    fingerprint: str = ""


class Cache(Protocol):
    """A store of bytes by keys of 32 bytes, which may lose entries at any time. Several threads use it.

    The caller checks values: a damaged value counts as missing. An exception is logged, and the call counts as without
    effect.
    """

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the value of each key, in order; None for a missing one."""
        ...

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values by their keys. It should return soon, since callers wait for it."""
        ...

    def close(self) -> None:
        """Store what was put, and release files and threads. Called once, after all other calls."""
        ...


class Lookup(NamedTuple):
    """The result of a look-up: the number of sequences that were found, and of those that must be computed."""

    hits: int
    misses: int


class ResultCache(Protocol):
    """The results of sequences of one model, in a cache.

    Attributes:
        hits: The number of sequences whose results were found.
        misses: The number of sequences that were looked up and not found.
        requires_owner: True to cache nothing for calls without an owner; set by servers whose clients have API keys.
        quick: True if looking up a few sequences takes microseconds.
    """

    hits: int
    misses: int
    requires_owner: bool
    quick: bool

    def look_up(self, jobs: "Iterable[Job]", owner: bytes | None = None) -> Lookup:
        """Set the results of those sequences of jobs that the cache has."""
        ...

    def store(self, requests: "Iterable[PoolingRequest]") -> None:
        """Store the results of computed sequences that were looked up and not found."""
        ...

    def close(self) -> None:
        """Store what was put, and release the cache's files and threads."""
        ...


class CacheChoice(Protocol):
    """The cache that the settings ``cache`` and ``cache_size`` name."""

    @property
    def entry(self) -> "Entry[CacheSpec]":
        """Its record."""
        ...

    @property
    def address(self) -> str:
        """The text after the scheme."""
        ...

    @property
    def max_bytes(self) -> int | None:
        """The maximum size in bytes; None for the default of the cache."""
        ...

    def open(self, loaded: "LoadedModel", devices: Iterable[str]) -> ResultCache:
        """Open the cache of a loaded model.

        Args:
            loaded: The model.
            devices: The devices of its engine processes, if the caller chose them.

        Raises:
            InvalidInputError: If the cache cannot be used with this model or its settings.
        """
        ...


def read_cache_setting(
    registry: "Registry", cache: str | PathLike[str] | None, size: int | str | None
) -> CacheChoice | None:
    """Return the cache of the settings, read by the service of the role "results"; None for none.

    Args:
        registry: The records of plugins.
        cache: A path, ``scheme:address``, or a scheme alone, such as "memory".
        size: The maximum size, such as "10GB" or a number of bytes.

    Raises:
        InvalidInputError: If no plugin provides the scheme, or a size is invalid.
        UnknownNameError: If no plugin provides the service.
    """
    if cache is None or cache == "":
        if size is not None:
            raise InvalidInputError("cache_size has no effect without cache", parameter="cache_size")
        return None
    entry = registry.services.get("results")
    with blamed(entry if is_foreign(entry) else None, "failed to read the cache setting"):
        choice: CacheChoice = entry.load()(registry, cache, size)
    if is_foreign(entry) and not callable(getattr(choice, "open", None)):
        raise breach(entry, f"it returned {described(choice)}; expected a CacheChoice, as in millpond.pipeline.cache")
    return choice
