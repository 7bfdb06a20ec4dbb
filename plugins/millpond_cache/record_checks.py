"""Checks of caches for ``millpond plugins doctor``."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault, signature_faults
from millpond_cache.kinds import CacheSpec


def cache_fields(registry: Registry, entry: Entry[CacheSpec]) -> Iterator[Fault]:
    """Check that the name is a valid scheme."""
    del registry
    if not re.fullmatch(r"[A-Za-z][\w+.-]+", entry.spec.name):
        yield Fault(f"its name {entry.spec.name!r} is not a valid scheme", "use at least two letters and digits")


def cache_target(registry: Registry, entry: Entry[CacheSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is called with the options."""
    del registry, entry
    if inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")
    yield from signature_faults("target", target, ("options",))
