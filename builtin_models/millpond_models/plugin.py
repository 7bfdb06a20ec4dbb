"""Registers all model families: each family declares its specs in a module named ``specs``."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

import millpond_models
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, PublishedModelSpec


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Yield ``ARCHITECTURES`` of each family."""
    for module in _families():
        yield from getattr(module, "ARCHITECTURES", ())


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """Yield ``PUBLISHED`` of each family."""
    for module in _families():
        yield from getattr(module, "PUBLISHED", ())


@hookimpl
def register_converters() -> Iterator[ConverterSpec]:
    """Yield ``CONVERTERS`` of each family."""
    for module in _families():
        yield from getattr(module, "CONVERTERS", ())


@cache
def _families() -> tuple[ModuleType, ...]:
    """Import the modules named ``specs`` in this package, and no other modules."""
    modules = walk_packages(millpond_models.__path__, f"{millpond_models.__name__}.", onerror=_raise)
    return tuple(import_module(info.name) for info in modules if info.name.endswith(".specs"))


def _raise(name: str) -> None:
    """Raise the import error of a package, which walk_packages would ignore."""
    import_module(name)
