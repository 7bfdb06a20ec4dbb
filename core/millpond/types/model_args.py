"""ModelArgs: the options of a model, with name, type, default, description and command-line spelling.

The arguments of ``LLM`` and ``AsyncLLM``, the options of commands and the tables in docs/reference are generated from
this class. It is a TypedDict, because only that types keyword arguments; pydantic validates the values later, because
``--help`` must not import it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypedDict

if TYPE_CHECKING:
    from millpond.types.config import PoolerConfig

Group = Literal["files", "settings", "computing", "running", "processor", "server"]


@dataclass(frozen=True)
class ModelArg:
    """The declaration of one option, in addition to its name and type.

    Attributes:
        default: The default value.
        description: One or two sentences, in Markdown.
        python: A sentence on values that only Python can pass.
        group: The commands that have the option: "files" for all that read a checkpoint, "settings" for all except
            ``bench``, "computing" for all except ``inspect``, "running" for those that compute results, "processor" for
            ``encode`` and ``serve``, "server" for ``serve``; None for Python only.
        panel: The heading of the option in the help of a command.
        metavar: The name of its value in the help; "N" for an integer, "JSON" for an object.
        options: The spellings on the command line; by default ``--name-with-dashes``.
        least: The minimum value.
        repeats: True if the option may be given several times.
        shown: The default as text, if the value does not show it.
        see: The title of a page with details, and its file in docs/.
        former: The name before 0.2, which still works with a DeprecationWarning.
    """

    default: Any
    description: str
    python: str = ""
    group: Group | None = "running"
    panel: str = "Model"
    metavar: str | None = None
    options: tuple[str, ...] = ()
    least: int | None = None
    repeats: bool = False
    shown: str | None = None
    see: tuple[str, str] | None = None
    former: str | None = None


IMAGES = ("Embed images", "how-to/images.md")
IMAGE_SIZES = ("Image sizes", "how-to/images.md#image-sizes")
INT8 = ("Compute in int8", "how-to/int8-and-bits.md")
KERNELS = ("Choose kernels", "how-to/choose-kernels.md")


class ModelArgs(TypedDict, total=False):
    """The options of a model."""

    runner: Annotated[
        str, ModelArg("auto", '`"auto"` or `"pooling"`, which are equivalent.', group="server", metavar="NAME")
    ]
    convert: Annotated[
        str,
        ModelArg(
            "auto",
            'The converter that turns another model into a pooling model, such as `"embed"` or `"classify"`; `"auto"` '
            'to select one if necessary, `"none"` for no conversion.',
            group="files",
            metavar="NAME",
        ),
    ]
    dtype: Annotated[
        str,
        ModelArg(
            "auto",
            '`"float32"` (`"float"`), `"bfloat16"`, `"float16"` (`"half"`), or `"auto"` for the dtype of the '
            "checkpoint, or float32 if the device does not support that dtype natively.",
            group="files",
            metavar="DTYPE",
        ),
    ]
    model_impl: Annotated[
        str,
        ModelArg(
            "auto",
            'The implementation of the model: `"native"`, `"transformers"` for the class of transformers, or `"auto"` '
            "for the native one if it exists.",
            group="files",
            metavar="NAME",
        ),
    ]
    max_model_len: Annotated[
        int | None,
        ModelArg(
            None,
            "The maximum number of tokens of a prompt.",
            group="settings",
            metavar="N",
            least=1,
            shown="from the checkpoint",
        ),
    ]
    pooler_config: Annotated[
        "PoolerConfig | Mapping[str, object] | str | None",
        ModelArg(
            None,
            'The pooling of the hidden states, such as `{"pooling_type": "CLS"}`.',
            "A `PoolerConfig`, a dict, or JSON text.",
            group="settings",
            panel="Pooling",
            metavar="JSON",
            shown="from the checkpoint",
            see=("PoolerConfig", "reference/pooling.md#poolerconfig"),
        ),
    ]
    hf_overrides: Annotated[
        Mapping[str, Any] | Callable[[Any], Any] | None,
        ModelArg(
            None,
            "An object that replaces parts of config.json.",
            "A dict, or a function of the config that returns one.",
            group="files",
            metavar="JSON",
        ),
    ]
    trust_remote_code: Annotated[
        bool,
        ModelArg(
            False, "Accepted for compatibility: built-in models run no code from the model's folder.", group="computing"
        ),
    ]
    allow_pickle: Annotated[bool, ModelArg(False, "Read pickled weights, with `weights_only=True`.", group="files")]
    revision: Annotated[
        str | None, ModelArg(None, "The branch, tag or commit on the hub.", group="files", metavar="REV")
    ]
    hf_token: Annotated[
        str | bool | None,
        ModelArg(
            None,
            "The access token of the hub.",
            "`True` for the stored token.",
            group="server",
            metavar="TOKEN",
            shown="`HF_TOKEN`",
        ),
    ]
    download_dir: Annotated[
        str | None, ModelArg(None, "The folder of downloaded files.", group="server", metavar="FOLDER")
    ]
    skip_tokenizer_init: Annotated[
        bool,
        ModelArg(False, "Load no tokenizer: prompts are token ids, or inputs of a plugin.", group="server"),
    ]
    io_processor_plugin: Annotated[
        str | None,
        ModelArg(
            None,
            'The IO processor of the task `"plugin"`.',
            group="processor",
            metavar="NAME",
            shown="from config.json",
        ),
    ]
    on_overflow: Annotated[
        str,
        ModelArg(
            "error",
            'The default treatment of prompts over the maximum length: `"error"`, `"truncate"`, or `"chunk"` to embed '
            "them in pieces and merge the vectors.",
            group="server",
            panel="Pooling",
            metavar="ACTION",
        ),
    ]
    apply_default_prompt: Annotated[
        bool,
        ModelArg(
            False,
            "Prepend the checkpoint's default prompt to each text, unless the call specifies another.",
            panel="Prompt",
        ),
    ]
    chat_template: Annotated[
        str | PathLike[str] | None,
        ModelArg(
            None,
            "The template of messages, and of a cross-encoder's query and document, as Jinja text or the path of a "
            "file.",
            group="server",
            panel="Prompt",
            metavar="JINJA",
            shown="from the checkpoint",
        ),
    ]
    mixed_modality: Annotated[
        str,
        ModelArg(
            "error",
            'The treatment of a prompt with text and an image, for models that read one or the other: `"error"`, or '
            '`"mean"` for the mean of both vectors.',
            group="server",
            panel="Pooling",
            metavar="WAY",
            former="mixed",
        ),
    ]
    allowed_media_domains: Annotated[
        str | Sequence[str] | None,
        ModelArg(
            None,
            "A host from which images may be fetched; `*.example.org` for its subdomains, `*` for all public hosts.",
            "Or a list of hosts.",
            group="server",
            panel="Access",
            metavar="HOST",
            repeats=True,
            shown="none",
            see=IMAGES,
        ),
    ]
    allowed_local_media_path: Annotated[
        str | PathLike[str],
        ModelArg(
            "",
            "The folder from which images with `file://` URLs may be read.",
            "A `pathlib.Path` in a prompt may be any file.",
            group="server",
            panel="Access",
            metavar="FOLDER",
            shown="none",
            see=IMAGES,
        ),
    ]
    mm_processor_kwargs: Annotated[
        Mapping[str, object] | None,
        ModelArg(
            None,
            'The sizes at which images are read, such as `{"max_pixels": 401408}`; the names depend on the model. '
            "Requests over HTTP may reduce them.",
            metavar="JSON",
            see=IMAGE_SIZES,
        ),
    ]
    limit_mm_per_prompt: Annotated[
        Mapping[str, object] | None,
        ModelArg(
            None,
            'The maximum number of images of a prompt, such as `{"image": 2}`, up to 1024; by default 32, or 1 for '
            "models that read one image per prompt.",
            metavar="JSON",
        ),
    ]
    device: Annotated[
        str,
        ModelArg(
            "auto",
            '`"cpu"`, `"cuda"`, `"cuda:1"`, or `"auto"` for a GPU if there is one.',
            group="computing",
            panel="Computing",
            metavar="DEVICE",
        ),
    ]
    kernels: Annotated[
        Mapping[str, str] | None,
        ModelArg(
            None,
            "The implementation of an op, such as `attention=sdpa`.",
            'A dict, such as `{"attention": "sdpa"}`.',
            group="computing",
            panel="Computing",
            metavar="OP=VARIANT",
            options=("--kernel",),
            repeats=True,
            see=KERNELS,
        ),
    ]
    quantization: Annotated[
        str | None,
        ModelArg(
            None,
            '`"int8"` computes in 8-bit integers: similar results, and faster on x86-64 CPUs with at least AVX2.',
            group="computing",
            panel="Computing",
            metavar="SCHEME",
            see=INT8,
        ),
    ]
    batch_invariant: Annotated[
        bool,
        ModelArg(
            False,
            "Return the same bits for each prompt, independent of the other prompts in its batch.",
            group="computing",
            panel="Computing",
            former="deterministic",
        ),
    ]
    deduplicate: Annotated[
        bool,
        ModelArg(
            True,
            "Compute equal prompts of a call once; each still has its own output.",
            group=None,
            former="dedupe",
        ),
    ]
    max_num_batched_tokens: Annotated[
        int | None,
        ModelArg(
            None,
            "The maximum number of tokens of a batch; a longer prompt runs alone.",
            panel="Computing",
            metavar="N",
            options=("--max-num-batched-tokens", "--batch-tokens"),
            least=1,
            shown="1024",
        ),
    ]
    max_num_seqs: Annotated[
        int | None,
        ModelArg(
            None,
            "The maximum number of prompts of a batch.",
            group="server",
            panel="Computing",
            metavar="N",
            shown="512",
        ),
    ]
    max_waiting_tokens: Annotated[
        int | None,
        ModelArg(
            None,
            "The maximum number of waiting tokens; requests over it are refused.",
            "Only for `AsyncLLM`.",
            group="server",
            panel="Computing",
            metavar="N",
            shown="1000000",
        ),
    ]
    num_workers: Annotated[
        int | None,
        ModelArg(
            None,
            "The number of single-threaded workers on a CPU.",
            group="server",
            panel="Computing",
            metavar="N",
            shown="one per core",
        ),
    ]
    tokenizer: Annotated[
        str | None,
        ModelArg(
            None,
            "The name of the model itself; the tokenizer of another model is not supported.",
            group="server",
            metavar="MODEL",
        ),
    ]
    profile: Annotated[
        bool | str | PathLike[str] | None, ModelArg(None, "Removed in 0.1.0, without effect.", group=None)
    ]


MODEL_ARGS: Final[Mapping[str, ModelArg]] = {
    name: annotation.__metadata__[0] for name, annotation in ModelArgs.__annotations__.items()
}
"""The declarations by name."""
FORMER_NAMES: Final[Mapping[str, str]] = {it.former: name for name, it in MODEL_ARGS.items() if it.former is not None}
"""The present name of each former name."""


def describe(name: str, *, python: bool = False) -> str:
    """Return the description of an option with its default in words, in Markdown.

    Args:
        name: The name of the option.
        python: Include the values that only Python can pass.
    """
    it = MODEL_ARGS[name]
    default = "" if it.shown is None else f"(default: {it.shown})"
    return " ".join(filter(None, (it.description, it.python if python else "", default)))
