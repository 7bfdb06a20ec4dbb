"""Collects the records of all model families: each family declares its own in a module named ``specs``."""

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
    """The architectures in ``ARCHITECTURES`` of each family."""
    for module in _families():
        yield from getattr(module, "ARCHITECTURES", ())


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """The published models in ``PUBLISHED`` of each family."""
    for module in _families():
        yield from getattr(module, "PUBLISHED", ())


@hookimpl
def register_converters() -> Iterator[ConverterSpec]:
    """The converters in ``CONVERTERS``."""
    for module in _families():
        yield from getattr(module, "CONVERTERS", ())


@cache
def _families() -> tuple[ModuleType, ...]:
    """Import the module ``specs`` of each package below this one; no other module is imported."""
    modules = walk_packages(millpond_models.__path__, f"{millpond_models.__name__}.", onerror=_raise)
    return tuple(import_module(info.name) for info in modules if info.name.endswith(".specs"))


def _raise(name: str) -> None:
    """Let a package that does not import fail the plugin; walk_packages would leave it out."""
    import_module(name)
