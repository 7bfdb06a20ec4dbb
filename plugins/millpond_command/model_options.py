"""The options of a model, generated from ``ModelArgs`` and grouped into dataclasses that commands take as parameters.

The fields have the names of the arguments of ``LLM``; ``model_arguments`` converts their values. A command takes one of
these dataclasses, or a subclass with more options, as a parameter; see ``declare.command``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from millpond.types.model_arg import Group
from millpond.types.model_args import MODEL_ARGS, describe
from millpond_command.declare import option

T = TypeVar("T")
MODEL_HELP = "A folder, a Hugging Face Hub id, package:NAME for a model in a Python package, or a model file (.toml)."


def names_of(argument: str) -> tuple[str, ...]:
    """Return the spellings of an argument of ``LLM`` on the command line."""
    return MODEL_ARGS[argument].options or (f"--{argument.replace('_', '-')}",)


def option_for(argument: str) -> Any:
    """Return the option for an argument of ``LLM``, for use in ``Annotated``."""
    it = MODEL_ARGS[argument]
    text = describe(argument).replace("`", "")
    if it.metavar != "JSON":
        text = text.replace('"', "")
    if it.repeats:
        text += " Repeatable."
    return option(it.panel, *names_of(argument), metavar=it.metavar, least=it.least, help=text)


def options_of(*groups: Group) -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes a dataclass with the options of groups of ``ModelArgs``, then its own fields."""

    def add_fields(cls: type[T]) -> type[T]:
        annotations = vars(cls).get("__annotations__", {})
        names = [name for name, it in MODEL_ARGS.items() if it.group in groups]
        cls.__annotations__ = {
            **{name: Annotated[_value_type(name), option_for(name)] for name in names},
            **annotations,
        }
        for name in names:
            setattr(cls, name, _default(name))
        return dataclass(frozen=True, kw_only=True)(cls)

    return add_fields


def _default(argument: str) -> object:
    return MODEL_ARGS[argument].default if MODEL_ARGS[argument].default != "" else None


def _value_type(argument: str) -> Any:
    it = MODEL_ARGS[argument]
    if it.repeats:
        return list[str] | None
    if isinstance(it.default, bool):
        return bool
    value_type = int if it.metavar == "N" else str
    return value_type if _default(argument) is not None else value_type | None


@options_of("files")
class FileOptions:
    """Options for reading the files of a model."""


@options_of("settings")
class ModelOptions(FileOptions):
    """Options that override the files of a model."""


@options_of("computing")
class ComputeOptions:
    """Options for computation: device, kernels, quantization."""


@options_of("running")
class RunOptions(ComputeOptions, ModelOptions):
    """Options for running a model."""


@options_of("processor")
class PluginRunOptions(RunOptions):
    """Options for running a model, possibly with the IO processor of a plugin."""


@options_of("server")
class ServeOptions(PluginRunOptions):
    """Options for serving a model."""


Quantization = Annotated[str | None, option_for("quantization")]
BatchInvariant = Annotated[bool, option_for("batch_invariant")]
ExpectSpace = Annotated[
    str | None,
    option(
        "Model",
        "--expect-space",
        metavar="ID|FILE",
        help="Fail if the embeddings are not of this space: its id, or a file with its descriptor, such as a job, a "
        "parquet file, or JSON of millpond inspect.",
    ),
]
