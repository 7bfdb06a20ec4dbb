"""Registers all model families: each family declares its specs in a module named ``specs``."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

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
    root = Path(__file__).parent
    paths = sorted(path.relative_to(root.parent).with_suffix("") for path in root.rglob("specs.py"))
    return tuple(import_module(".".join(path.parts)) for path in paths)
