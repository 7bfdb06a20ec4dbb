"""The contracts of caches of results, and opening the cache that a setting names."""

import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike, fspath
from typing import TYPE_CHECKING, NamedTuple, Protocol

from millpond.plugin.blame import blamed, is_foreign
from millpond.types.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from millpond.engine.request import PoolingRequest
    from millpond.loading.build import LoadedModel
    from millpond.pipeline.bound_task import Job
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import CacheSpec

DISK = "disk"  # the cache of a setting without a scheme, which is a path
SCHEME = re.compile(r"([A-Za-z][\w+.-]+):(?!\\)")  # a single letter is a drive
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?", re.IGNORECASE)
UNITS = {"b": 1, **{f"{name}b": 1000**n for n, name in enumerate("kmgt", 1)}}
UNITS |= {f"{name}ib": 1024**n for n, name in enumerate("kmgt", 1)}
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


@dataclass(frozen=True)
class CacheChoice:
    """The cache that the settings ``cache`` and ``cache_size`` name.

    Attributes:
        entry: Its record.
        address: The text after the scheme.
        max_bytes: The maximum size in bytes; None for the default of the cache.
    """

    entry: "Entry[CacheSpec]"
    address: str
    max_bytes: int | None


def read_cache_setting(
    registry: "Registry", cache: str | PathLike[str] | None, size: int | str | None
) -> CacheChoice | None:
    """Return the cache of the settings; None for none.

    Args:
        registry: The records of plugins.
        cache: A path, ``scheme:address``, or a scheme alone, such as "memory".
        size: The maximum size, such as "10GB" or a number of bytes.

    Raises:
        InvalidInputError: If no plugin provides the scheme, or a size is invalid.
    """
    if cache is None or cache == "":
        if size is not None:
            raise InvalidInputError("cache_size has no effect without cache", parameter="cache_size")
        return None
    if not isinstance(cache, str | PathLike):
        message = f"cache must be a path, or a text such as 'memory:512MB'; got {type(cache).__name__}"
        raise InvalidInputError(message, parameter="cache")
    max_bytes = None if size is None else parse_size(size, "cache_size")
    if isinstance(cache, str):
        match = SCHEME.match(cache)
        name = cache if match is None and cache in registry.caches else None if match is None else match[1]
        if name is not None:
            return CacheChoice(_entry(registry, name), cache[match.end() :] if match else "", max_bytes)
    return CacheChoice(_entry(registry, DISK), fspath(cache), max_bytes)


def open_cache(choice: CacheChoice | None, loaded: "LoadedModel", devices: Iterable[str]) -> ResultCache | None:
    """Open the cache of a loaded model with the service of the role "results"; None without a cache.

    Args:
        choice: The cache that the settings name.
        loaded: The model.
        devices: The devices of its engine processes, if the caller chose them.

    Raises:
        InvalidInputError: If the cache cannot be used with this model or its settings.
        UnknownNameError: If no plugin provides the service.
    """
    if choice is None:
        return None
    entry = loaded.context.registry.services.get("results")
    with blamed(entry if is_foreign(entry) else None, "failed to open the cache"):
        cache: ResultCache = entry.load()(choice, loaded, devices)
    return cache


def parse_size(size: int | str, parameter: str) -> int:
    """Return a number of bytes from a number, or a text such as "512MB" (10^6) or "512MiB" (2^20).

    Raises:
        InvalidInputError: If it is neither, or less than 1.
    """
    match = SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is not None:
        num_bytes = int(float(match[1]) * UNITS[(match[2] or "B").lower()])
    else:
        num_bytes = size if isinstance(size, int) and not isinstance(size, bool) else 0
    if num_bytes < 1:
        message = f"{parameter}={size!r} is not a size: write a number with a unit, such as '512MB' or '10GB'"
        raise InvalidInputError(message, parameter=parameter)
    return num_bytes


def _entry(registry: "Registry", name: str) -> "Entry[CacheSpec]":
    try:
        return registry.caches.get(name)
    except UnknownNameError as error:
        close = get_close_matches(name, registry.caches.names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        available = ", ".join(registry.caches.names()) or "none"
        message = (
            f"Unknown cache {name!r}.{hint} Available: {available}. For a folder with a colon, write './{name}:...'"
        )
        raise InvalidInputError(message, parameter="cache") from error
