"""The contracts of caches of results, and the cache that a setting names."""

from collections.abc import Iterable
from contextvars import ContextVar
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.engine.request import PoolingRequest
    from millpond.loading.build import LoadedModel
    from millpond.pipeline.io_processor import Job
    from millpond.plugin.registry import Entry, Registry

SHARED = b""  # the owner of the entries of calls without an owner

cache_owner: ContextVar[bytes | None] = ContextVar("cache_owner", default=None)
"""The owner of the entries of a call, such as the hash of an API key; owners share no entries."""

bypass_cache: ContextVar[bool] = ContextVar("bypass_cache", default=False)
"""True for online calls that must be computed, such as those that warm up a model."""


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
    def entry(self) -> "Entry[Any]":
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
    """Return the cache of the settings, read by the plugin of caches; None for none.

    Args:
        registry: The records of plugins.
        cache: A path, ``scheme:address``, or a scheme alone, such as "memory".
        size: The maximum size, such as "10GB" or a number of bytes.

    Raises:
        InvalidInputError: If no plugin provides the scheme, or a size is invalid.
        UnknownNameError: If no plugin provides caches.
    """
    if cache is None or cache == "":
        if size is not None:
            raise InvalidInputError("cache_size has no effect without cache", parameter="cache_size")
        return None
    record: Any = registry.catalog("cache").record
    choice: CacheChoice = record.choose(registry, cache, size)
    return choice
