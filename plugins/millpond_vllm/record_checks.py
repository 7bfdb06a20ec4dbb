"""Checks of argument dialects for ``millpond plugins doctor``."""

from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault, method_faults
from millpond_vllm.kinds import DialectSpec


def dialect_target(registry: Registry, entry: Entry[DialectSpec], target: Any) -> Iterator[Fault]:
    """Check that the target has the methods of a dialect."""
    del registry, entry
    yield from method_faults(target, "millpond_vllm.kinds", "translate", "names")
