"""The options of a model on the command line, made from ``ModelArgs``: each command takes some groups.

A group is a dataclass whose fields have the names of the arguments of ``LLM``; ``model_arguments`` converts the values.
A command takes a group as one parameter, or a group of its own that adds to it; see ``declare.command``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from millpond.types.model_args import FORMER_NAMES, MODEL_ARGS, Group, describe
from millpond_command.declare import option

T = TypeVar("T")


def names_of(argument: str) -> tuple[str, ...]:
    """The spellings of an argument of ``LLM`` on the command line."""
    return MODEL_ARGS[argument].options or (f"--{argument.replace('_', '-')}",)


def declared(argument: str) -> Any:
    """The option for an argument of ``LLM``, for ``Annotated``."""
    it = MODEL_ARGS[argument]
    text = describe(argument).replace("`", "")
    if it.metavar != "JSON":
        text = text.replace('"', "")
    if it.repeats:
        text += " May be given several times."
    return option(it.panel, *names_of(argument), metavar=it.metavar, least=it.least, help=text)


def former_option(name: str) -> Any:
    """Return the hidden option for a former name of an argument of ``LLM``, for ``Annotated``."""
    return typer.Option(f"--{name.replace('_', '-')}", hidden=True)


def options_of(*groups: Group) -> Callable[[type[T]], type[T]]:
    """Make a dataclass of a class, with the options of groups of ``ModelArgs`` before its own fields."""

    def made(cls: type[T]) -> type[T]:
        own = vars(cls).get("__annotations__", {})
        names = [name for name, it in MODEL_ARGS.items() if it.group in groups]
        former = {old: name for old, name in FORMER_NAMES.items() if name in names}
        cls.__annotations__ = {
            **{name: Annotated[_kind(name), declared(name)] for name in names},
            **{old: Annotated[_kind(name) | None, former_option(old)] for old, name in former.items()},
            **own,
        }
        for name in names:
            setattr(cls, name, _default(name))
        for old in former:
            setattr(cls, old, None)
        return dataclass(frozen=True, kw_only=True)(cls)

    return made


def _default(argument: str) -> object:
    return MODEL_ARGS[argument].default if MODEL_ARGS[argument].default != "" else None


def _kind(argument: str) -> Any:
    """The type of the value that is typed."""
    it = MODEL_ARGS[argument]
    if it.repeats:
        return list[str] | None
    if isinstance(it.default, bool):
        return bool
    kind = int if it.metavar == "N" else str
    return kind if _default(argument) is not None else kind | None


@options_of("files")
class Files:
    """Options of reading the files of a model."""


@options_of("settings")
class Settings(Files):
    """Options of a model that go before its files."""


@options_of("computing")
class Computing:
    """Options of computing."""


@options_of("running")
class Running(Computing, Settings):
    """Options of a model that computes results."""


@options_of("processor")
class RunningPlugins(Running):
    """Options of a model whose prompts may be those of an IO processor plugin."""


@options_of("server")
class Served(RunningPlugins):
    """Options of a model that is served."""


Quantization = Annotated[str | None, declared("quantization")]
BatchInvariant = Annotated[bool, declared("batch_invariant")]
Deterministic = Annotated[bool, former_option("deterministic")]
