"""Registers the built-in caches and their command."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_cache.kinds import CacheSpec
from millpond_command.kinds import CommandSpec


@hookimpl
def register_caches() -> Iterator[CacheSpec]:
    """Register the caches in memory and on disk."""
    yield CacheSpec(
        name="memory",
        target="millpond_cache.memory:open_memory_cache",
        summary="memory of this process; the least recently used entries are dropped",
        persistent=False,
        quick=True,
    )
    yield CacheSpec(
        name="disk",
        target="millpond_cache.disk:open_disk_cache",
        summary="a folder that several processes may share",
    )


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Register ``millpond cache``."""
    yield CommandSpec(
        name="cache",
        target="millpond_cache.command:app",
        summary="Show or remove the cache in a folder.",
        group="Manage the installation",
    )
