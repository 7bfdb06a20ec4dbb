"""Checks of checkpoint formats and of the modules that checkpoints list."""

import inspect
from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import CheckpointFormatSpec, ModuleSpec
from millpond.testing.records.common import Fault, async_faults, named, signature_faults

POSITIONS = ("before", "after")


def format_fields(registry: Registry, entry: Entry[CheckpointFormatSpec]) -> Iterator[Fault]:
    """Check the files that identify the format."""
    del registry
    if not entry.spec.files and not entry.spec.reads_config:
        yield Fault("files are empty: the format never matches", "list files that it reads: files=('modules.json',)")
    for name in entry.spec.files:
        if name.startswith("/") or ".." in name.split("/"):
            yield Fault(
                f"files contains {name!r}, which is outside of the checkpoint folder", "name files in its folder"
            )


def format_target(registry: Registry, entry: Entry[CheckpointFormatSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a function of the repository."""
    del registry, entry
    yield from _function_faults(target, ("repository",))


def module_fields(registry: Registry, entry: Entry[ModuleSpec]) -> Iterator[Fault]:
    """Check its positions and the function of its size."""
    del registry
    for name in entry.spec.places:
        if name not in POSITIONS:
            yield Fault(f"places contains {name!r}, which is unknown", f"use one of {', '.join(POSITIONS)}")
    if entry.spec.sparse and "after" not in entry.spec.places:
        yield Fault("sparse is for modules after pooling, but places lack 'after'", "add 'after' to places")
    function, faults = named("size", entry.spec.size)
    yield from faults
    if function is not None:
        yield from signature_faults("size", function, ("config", "size"))


def module_target(registry: Registry, entry: Entry[ModuleSpec], target: Any) -> Iterator[Fault]:
    """Check that the target takes the context, the module's config and its weights."""
    del registry, entry
    yield from _function_faults(target, ("ctx", "config", "weights"))


def _function_faults(target: Any, arguments: tuple[str, ...]) -> Iterator[Fault]:
    yield from signature_faults("target", target, arguments)
    if inspect.iscoroutinefunction(target):
        yield Fault("its target is async, but it is called without await", "write def")
    yield from async_faults(target, "forward", "attach")
