"""The settings ``cache`` and ``cache_size``: the cache that they name, and its size in bytes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike, fspath
from typing import TYPE_CHECKING

from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond_cache.kinds import CacheSpec

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel
    from millpond.pipeline.cache import ResultCache
    from millpond.plugin.registry import Entry, Registry

DISK = "disk"  # the cache of a setting without a scheme, which is a path
SCHEME = re.compile(r"([A-Za-z][\w+.-]+):(?!\\)")  # a single letter is a drive
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?", re.IGNORECASE)
UNITS = {"b": 1, **{f"{name}b": 1000**n for n, name in enumerate("kmgt", 1)}}
UNITS |= {f"{name}ib": 1024**n for n, name in enumerate("kmgt", 1)}


@dataclass(frozen=True)
class CacheChoice:
    """The cache that the settings name; see ``millpond.pipeline.cache.CacheChoice``."""

    entry: "Entry[CacheSpec]"
    address: str
    max_bytes: int | None

    def open(self, loaded: "LoadedModel", devices: Iterable[str]) -> "ResultCache":
        """Open the cache of a loaded model."""
        from millpond_cache.results import open_results  # noqa: PLC0415  needs numpy

        return open_results(self, loaded, devices)


def choose_cache(registry: "Registry", cache: str | PathLike[str], size: int | str | None) -> CacheChoice:
    """Return the cache of the settings.

    Args:
        registry: The records of plugins.
        cache: A path, ``scheme:address``, or a scheme alone, such as "memory".
        size: The maximum size, such as "10GB" or a number of bytes.

    Raises:
        InvalidInputError: If no plugin provides the scheme, or a size is invalid.
    """
    if not isinstance(cache, str | PathLike):
        message = f"cache must be a path, or a text such as 'memory:512MB'; got {type(cache).__name__}"
        raise InvalidInputError(message, parameter="cache")
    max_bytes = None if size is None else parse_size(size, "cache_size")
    if isinstance(cache, str):
        match = SCHEME.match(cache)
        name = cache if match is None and cache in registry[CacheSpec] else None if match is None else match[1]
        if name is not None:
            return CacheChoice(_entry(registry, name), cache[match.end() :] if match else "", max_bytes)
    return CacheChoice(_entry(registry, DISK), fspath(cache), max_bytes)


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
        return registry[CacheSpec].get(name)
    except UnknownNameError as error:
        close = get_close_matches(name, registry[CacheSpec].names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        available = ", ".join(registry[CacheSpec].names()) or "none"
        message = (
            f"Unknown cache {name!r}.{hint} Available: {available}. For a folder with a colon, write './{name}:...'"
        )
        raise InvalidInputError(message, parameter="cache") from error
