"""ModelArgs: the options of a model, with name, type, default, description and command-line spelling.

The arguments of ``LLM``, the options of commands and the tables in docs/reference are generated from this class. It is
a TypedDict, because only that types keyword arguments; ``--help`` must not import pydantic, which validates them later.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from millpond.types.model_arg import ModelArg

if TYPE_CHECKING:
    from millpond.types.config import PoolerConfig

IMAGES = ("Embed images", "how-to/images.md")
IMAGE_SIZES = ("Image sizes", "how-to/images.md#image-sizes")
CACHE = ("Cache results", "how-to/cache.md")
INT8 = ("Compute in int8", "how-to/int8-and-bits.md")
DEVICES = ("Use several devices", "how-to/several-devices.md")
GPU = ("Run on a GPU", "how-to/gpu.md")
PREFIXES = ("Rerank many documents", "how-to/score-and-rerank.md#rerank-many-documents-with-a-language-model")
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
            "checkpoint, or float32 if the device does not support that dtype natively. On a CPU, `bfloat16` halves "
            "the memory of weights, and is faster with AVX512-BF16.",
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
        bool, ModelArg(False, "Load no tokenizer: prompts are token ids, or inputs of a plugin.", group="server")
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
            '`"int8"` computes in 8-bit integers: similar results, and faster on x86-64 CPUs with at least AVX2. '
            '`"bfloat16"` is the scheme of `dtype="bfloat16"` on a CPU.',
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
        ),
    ]
    deduplicate: Annotated[
        bool,
        ModelArg(True, "Compute equal prompts of a call once; each still has its own output.", group=None),
    ]
    enable_prefix_caching: Annotated[
        bool,
        ModelArg(
            True,
            "Compute the tokens with which all prompts of a call begin once, such as the instruction and the query of "
            "a rerank, if the model is a decoder.",
            group="server",
            panel="Computing",
            options=("--enable-prefix-caching/--no-enable-prefix-caching",),
            see=PREFIXES,
        ),
    ]
    cache: Annotated[
        str | PathLike[str] | None,
        ModelArg(
            None,
            'The cache of results: a folder, or `"memory"` or `"memory:512MB"` for a cache in memory.',
            panel="Computing",
            metavar="CACHE",
            shown="none",
            see=CACHE,
        ),
    ]
    cache_size: Annotated[
        int | str | None,
        ModelArg(
            None,
            'The maximum size of the cache, such as `"10GB"`.',
            "Or a number of bytes.",
            panel="Computing",
            metavar="SIZE",
            shown="10GB for a folder, 512MB in memory",
            see=CACHE,
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
            shown="1024 on a CPU, 4096 to 65536 on a GPU, by its memory",
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
            shown="512 on a CPU, 4096 on a GPU",
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
            "The number of single-threaded workers on a CPU. On CUDA: the number of batches in flight, by default 1.",
            group="server",
            panel="Computing",
            metavar="N",
            shown="one per core",
        ),
    ]
    cuda_graphs: Annotated[
        bool,
        ModelArg(
            False,
            "Launch small batches on a CUDA device with recorded graphs; not yet tested on a GPU.",
            group="server",
            panel="Computing",
            see=GPU,
        ),
    ]
    data_parallel_size: Annotated[
        int,
        ModelArg(
            1,
            "The number of engine processes that share the prompts: one for each GPU, or for a part of the CPU.",
            panel="Computing",
            metavar="N",
            least=1,
            see=DEVICES,
        ),
    ]
    data_parallel_backend: Annotated[
        str,
        ModelArg(
            "mp",
            'The executor of several engine processes: `"mp"` for processes on this machine, or that of a plugin.',
            group="server",
            panel="Computing",
            metavar="NAME",
        ),
    ]
    devices: Annotated[
        str | Sequence[str] | None,
        ModelArg(
            None,
            "The device of each engine process, separated by commas, such as `cuda:0,cuda:1`.",
            "Or a list.",
            panel="Computing",
            metavar="DEVICES",
            see=DEVICES,
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


MODEL_ARGS: Final[Mapping[str, ModelArg]] = {
    name: annotation.__metadata__[0] for name, annotation in ModelArgs.__annotations__.items()
}


def describe(name: str, *, python: bool = False) -> str:
    """Return the description of an option, and of values that only ``python`` can pass, with the default in words."""
    it = MODEL_ARGS[name]
    default = "" if it.shown is None else f"(default: {it.shown})"
    return " ".join(filter(None, (it.description, it.python if python else "", default)))
