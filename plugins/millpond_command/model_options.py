"""The options of a model, generated from ``ModelArgs`` and grouped into dataclasses that commands take as parameters.

The fields have the names of the arguments of ``LLM``; ``model_arguments`` converts their values. A command takes one of
these dataclasses, or a subclass with more options, as a parameter; see ``declare.command``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, TypeVar

from millpond.types.model_args import DEFAULTS, ModelArgs, describe
from millpond_command.declare import option

T = TypeVar("T")
Group = Literal["files", "settings", "computing", "running", "processor", "server"]
MODEL_HELP = "A folder, a Hugging Face Hub id, package:NAME for a model in a Python package, or a model file (.toml)."


@dataclass(frozen=True)
class ModelOption:
    """The option for an argument of ``LLM``, in addition to its description and default.

    Attributes:
        group: The commands that have the option: "files" for all that read a checkpoint, "settings" for all except
            ``bench``, "computing" for all except ``inspect``, "running" for those that compute results, "processor" for
            ``encode`` and ``serve``, "server" for ``serve``; None for Python only.
        panel: The heading of the option in the help of a command.
        metavar: The name of its value in the help; by default "N" for an integer, "JSON" for an object.
        names: The spellings on the command line; by default ``--name-with-dashes``.
        least: The minimum value.
        repeats: True if the option may be given several times.
    """

    group: Group | None = "running"
    panel: str = "Model"
    metavar: str | None = None
    names: tuple[str, ...] = ()
    least: int | None = None
    repeats: bool = False


_DECLARED: Final[Mapping[str, ModelOption]] = {
    "runner": ModelOption(group="server", metavar="NAME"),
    "convert": ModelOption(group="files", metavar="NAME"),
    "dtype": ModelOption(group="files", metavar="DTYPE"),
    "model_impl": ModelOption(group="files", metavar="NAME"),
    "max_model_len": ModelOption(group="settings", least=1),
    "pooler_config": ModelOption(group="settings", panel="Pooling"),
    "hf_overrides": ModelOption(group="files"),
    "trust_remote_code": ModelOption(group="computing"),
    "allow_pickle": ModelOption(group="files"),
    "revision": ModelOption(group="files", metavar="REV"),
    "hf_token": ModelOption(group="server", metavar="TOKEN"),
    "download_dir": ModelOption(group="server", metavar="FOLDER"),
    "skip_tokenizer_init": ModelOption(group="server"),
    "io_processor_plugin": ModelOption(group="processor", metavar="NAME"),
    "text_steps": ModelOption(group="settings", metavar="NAME", names=("--text-step",), repeats=True),
    "on_overflow": ModelOption(group="server", panel="Pooling", metavar="ACTION"),
    "apply_default_prompt": ModelOption(panel="Prompt"),
    "chat_template": ModelOption(group="server", panel="Prompt", metavar="JINJA"),
    "mixed_modality": ModelOption(group="server", panel="Pooling", metavar="WAY"),
    "allowed_media_domains": ModelOption(group="server", panel="Access", metavar="HOST", repeats=True),
    "allowed_local_media_path": ModelOption(group="server", panel="Access", metavar="FOLDER"),
    "device": ModelOption(group="computing", panel="Computing", metavar="DEVICE"),
    "kernels": ModelOption(
        group="computing", panel="Computing", metavar="OP=VARIANT", names=("--kernel",), repeats=True
    ),
    "quantization": ModelOption(group="computing", panel="Computing", metavar="SCHEME"),
    "batch_invariant": ModelOption(group="computing", panel="Computing"),
    "deduplicate": ModelOption(group=None),
    "enable_prefix_caching": ModelOption(
        group="server", panel="Computing", names=("--enable-prefix-caching/--no-enable-prefix-caching",)
    ),
    "cache": ModelOption(panel="Computing", metavar="CACHE"),
    "cache_size": ModelOption(panel="Computing", metavar="SIZE"),
    "max_num_batched_tokens": ModelOption(
        panel="Computing", names=("--max-num-batched-tokens", "--batch-tokens"), least=1
    ),
    "max_num_seqs": ModelOption(group="server", panel="Computing"),
    "max_waiting_tokens": ModelOption(group="server", panel="Computing"),
    "num_workers": ModelOption(group="server", panel="Computing"),
    "cuda_graphs": ModelOption(group="server", panel="Computing"),
    "data_parallel_size": ModelOption(panel="Computing", least=1),
    "data_parallel_backend": ModelOption(group="server", panel="Computing", metavar="NAME"),
    "devices": ModelOption(panel="Computing", metavar="DEVICES"),
    "tokenizer": ModelOption(group="server", metavar="MODEL"),
}


def _completed(argument: str) -> ModelOption:
    declared = _DECLARED.get(argument, ModelOption())
    names = declared.names or (f"--{argument.replace('_', '-')}",)
    value = str(ModelArgs.__annotations__[argument].__origin__)
    of_type = "JSON" if "Mapping" in value else "N" if "int" in value else None
    return replace(declared, names=names, metavar=declared.metavar or of_type)


MODEL_OPTIONS: Final[Mapping[str, ModelOption]] = {argument: _completed(argument) for argument in DEFAULTS}
"""The options for all arguments of ``LLM``, by argument."""


def option_for(argument: str) -> Any:
    """Return the option for an argument of ``LLM``, for use in ``Annotated``."""
    it = MODEL_OPTIONS[argument]
    text = describe(argument).replace("`", "")
    if it.metavar != "JSON":
        text = text.replace('"', "")
    if it.repeats:
        text += " Repeatable."
    return option(it.panel, *it.names, metavar=it.metavar, least=it.least, help=text)


def options_of(*groups: Group) -> Callable[[type[T]], type[T]]:
    """Return a decorator that makes a dataclass with the options of groups of ``ModelArgs``, then its own fields."""

    def add_fields(cls: type[T]) -> type[T]:
        annotations = vars(cls).get("__annotations__", {})
        names = [name for name, it in MODEL_OPTIONS.items() if it.group in groups]
        cls.__annotations__ = {
            **{name: Annotated[_value_type(name), option_for(name)] for name in names},
            **annotations,
        }
        for name in names:
            setattr(cls, name, _default(name))
        return dataclass(frozen=True, kw_only=True)(cls)

    return add_fields


def _default(argument: str) -> object:
    return None if DEFAULTS[argument] == "" else DEFAULTS[argument]


def _value_type(argument: str) -> Any:
    it = MODEL_OPTIONS[argument]
    if it.repeats:
        return list[str] | None
    if isinstance(DEFAULTS[argument], bool):
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


@dataclass(frozen=True, kw_only=True)
class ProgressOptions:
    """Options for progress and warnings on stderr."""

    quiet: Annotated[bool, option("Output", "--quiet", "-q", help="Hide progress and warnings; show only errors.")] = (
        False
    )
    progress: Annotated[
        bool | None,
        option("Output", "--progress/--no-progress", help="Show progress on stderr. (default: on a terminal)"),
    ] = None

    @property
    def shows_progress(self) -> bool | None:
        """True to show progress; None to show it on a terminal."""
        return False if self.quiet and self.progress is None else self.progress
