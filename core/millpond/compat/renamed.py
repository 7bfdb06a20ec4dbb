"""Old names of module contents, record fields, attributes and arguments; each use raises a DeprecationWarning."""

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from millpond.compat.warn import warn_caller

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def renamed_contents(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose classes or functions were renamed.

    Args:
        module: The module's ``__name__``.
        names: The new name of each old name.
    """

    def read(name: str) -> Any:
        if name not in names:
            message = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(message)
        warn_caller(f"{module}.{name} was renamed: import {names[name]}")
        return getattr(sys.modules[module], names[name])

    return read


def renamed_fields(**names: str) -> Callable[[type[T]], type[T]]:
    """Return a class decorator that accepts old names of fields in the constructor, and reads them as attributes.

    Args:
        names: The new name of each old name.
    """

    def decorate(cls: type[T]) -> type[T]:
        original: Callable[..., None] = cls.__init__

        @wraps(original)
        def initialize(self: T, *values: Any, **fields: Any) -> None:
            original(self, *values, **_renamed(cls.__name__, names, fields))

        cls.__init__ = initialize  # type: ignore[method-assign, assignment]  # accepts more arguments
        return renamed_attributes(**names)(cls)

    return decorate


def renamed_attributes(**names: str) -> Callable[[type[T]], type[T]]:
    """Return a class decorator that reads attributes by their old names.

    Args:
        names: The new name of each old name.
    """

    def decorate(cls: type[T]) -> type[T]:
        for old, new in names.items():
            setattr(cls, old, _alias(cls.__name__, old, new))
        return cls

    return decorate


def renamed_arguments(**names: str) -> Callable[[F], F]:
    """Return a decorator of functions that accepts old names of keyword arguments.

    Args:
        names: The new name of each old name.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*values: Any, **options: Any) -> Any:
            return function(*values, **_renamed(function.__qualname__, names, options))

        return call  # type: ignore[return-value]  # the signature is that of the function

    return decorate


def _renamed(owner: str, names: Mapping[str, str], options: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments by their new names; raises TypeError if both names of one are passed."""
    for old in names.keys() & options.keys():
        if names[old] in options:
            message = f"{owner}: pass {names[old]} without {old}, its former name"
            raise TypeError(message)
        warn_caller(f"{owner}: the argument {old} was renamed: pass {names[old]}")
    return {names.get(name, name): value for name, value in options.items()}


def _alias(owner: str, old: str, new: str) -> property:
    def read(self: object) -> Any:
        warn_caller(f"{owner}.{old} was renamed: use {new}")
        return getattr(self, new)

    return property(read, doc=f"The former name of ``{new}``.")
