"""Old names of module contents, fields, attributes, arguments, options; each use raises a DeprecationWarning."""

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, TypeVar, overload

from millpond.compat.warn import warn_caller

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
RENAMED_FEATURES: Final[Mapping[str, str]] = MappingProxyType({"hidden_tokens": "masked_tokens"})
RENAMED_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({"mixed": "mixed_modality"})


def renamed_contents(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose classes or functions were renamed or moved.

    Args:
        module: The module's ``__name__``.
        names: The new name of each old name; with a module and a dot if it is in another module.
    """

    def read(name: str) -> Any:
        if name not in names:
            message = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(message)
        warn_caller(f"{module}.{name} was renamed: import {names[name]}")
        new_module, _, new_name = names[name].rpartition(".")
        return getattr(import_module(new_module or module), new_name)

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
            if not names.keys().isdisjoint(fields):
                fields = _renamed(cls.__name__, names, fields)
            original(self, *values, **fields)

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
            if not names.keys().isdisjoint(options):
                options = _renamed(function.__qualname__, names, options)
            return function(*values, **options)

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


def current_features(features: tuple[str, ...]) -> tuple[str, ...]:
    """Return features by their present names.

    Args:
        features: The features of a kernel, or those that a model requires.
    """
    if RENAMED_FEATURES.keys().isdisjoint(features):
        return features
    for old in RENAMED_FEATURES.keys() & set(features):
        warn_caller(f"the kernel feature {old!r} was renamed: use {RENAMED_FEATURES[old]!r}")
    return tuple(RENAMED_FEATURES.get(name, name) for name in features)


@overload
def current_options(options: Mapping[str, object], known: Collection[str]) -> Mapping[str, object]: ...
@overload
def current_options(options: Mapping[str, object] | None, known: Collection[str]) -> Mapping[str, object] | None: ...
def current_options(options: Mapping[str, object] | None, known: Collection[str]) -> Mapping[str, object] | None:
    """Return options by their present names; the options themselves if no former name is among them.

    Args:
        options: The options of a call by name, or None.
        known: The names of the task's options. A former name that is one of them is not renamed.
    """
    if not options or RENAMED_OPTIONS.keys().isdisjoint(options):
        return options
    names = {old: new for old, new in RENAMED_OPTIONS.items() if old in options and old not in known and new in known}
    for old, new in names.items():
        warn_caller(f"the option {old!r} was renamed: pass {new!r}")
    return {names.get(name, name): value for name, value in options.items()}


def accepts_texts(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that also accepts its prompts as ``texts``, like ``LLM.entities`` before 0.2."""

    @wraps(method)
    def call(self: object, *prompts: object, **options: Any) -> Any:
        if not prompts and "prompts" not in options and "texts" in options:
            warn_caller("the argument `texts` was renamed: pass `prompts`")
            options["prompts"] = options.pop("texts")
        return method(self, *prompts, **options)

    return call
