"""The kind of records of this plugin: caches of results, and the contract of their targets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, ClassVar, Protocol

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec

if TYPE_CHECKING:
    from millpond.plugin.registry import Registry
    from millpond_cache.setting import CacheChoice


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


@dataclass(frozen=True, kw_only=True)
class CacheSpec(Spec):
    """A cache of results, named by its scheme; target: ``(CacheOptions) -> Cache``.

    Attributes:
        persistent: True if its entries exist after the process: models with components that were registered at run time
            cannot use it, because two versions of such a component cannot be distinguished.
        quick: True if reading a few entries takes microseconds: an online call then reads them on its event loop.
    """

    kind: ClassVar[str] = "cache"
    checks: ClassVar[str] = "millpond_cache.record_checks"
    persistent: bool = True
    quick: bool = False

    @staticmethod
    def choose(registry: "Registry", cache: str | PathLike[str], size: int | str | None) -> "CacheChoice":
        """Return the cache that the settings ``cache`` and ``cache_size`` of a model name.

        Raises:
            InvalidInputError: If no plugin provides the scheme, or a size is invalid.
        """
        from millpond_cache.setting import choose_cache  # noqa: PLC0415  only models with a cache need it

        return choose_cache(registry, cache, size)


@hookspec
def register_caches() -> Iterable[CacheSpec]:
    """Declare caches of results.

    The name is a scheme: ``LLM(..., cache="bucket:vectors")`` opens the cache ``bucket``. The target takes
    ``CacheOptions`` and returns a ``Cache``, which stores bytes by keys of 32 bytes. Keys contain everything that can
    change a result, and values are checked by the caller, so a cache may lose entries at any time.
    """
    return ()
