"""ModelArgs: the options of a model, with name, type, default and description.

The arguments of ``LLM``, the options of commands and the tables in docs/reference are generated from this class. It is
a TypedDict, because only that types keyword arguments; ``--help`` must not import pydantic, which validates them later.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import cleandoc
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

if TYPE_CHECKING:
    from millpond.types.config import PoolerConfig


class ModelArgs(TypedDict, total=False):
    """The options of a model; each is annotated with its default.

    Text in brackets describes values that only Python can pass, text in parentheses at the end the default.

    Attributes:
        runner: `"auto"` or `"pooling"`, which are equivalent.
        convert: The converter that turns another model into a pooling model, such as `"embed"` or `"classify"`;
            `"auto"` to select one if necessary, `"none"` for no conversion.
        dtype: `"float32"` (`"float"`), `"bfloat16"`, `"float16"` (`"half"`), or `"auto"` for the dtype of the
            checkpoint, or float32 if the device does not support that dtype natively. On a CPU, `bfloat16`
            halves the memory of weights, and is faster with AVX512-BF16.
        model_impl: The implementation of the model: `"native"`, `"transformers"` for the class of transformers,
            or `"auto"` for the native one if it exists.
        max_model_len: The maximum number of tokens of a prompt. (default: from the checkpoint)
        pooler_config: The pooling of the hidden states, such as `{"pooling_type": "CLS"}`. [A `PoolerConfig`, a
            dict, or JSON text.] (default: from the checkpoint)
        hf_overrides: An object that replaces parts of config.json. [A dict, or a function of the config that
            returns one.]
        trust_remote_code: Accepted for compatibility: built-in models run no code from the model's folder.
        allow_pickle: Read pickled weights, with `weights_only=True`.
        revision: The branch, tag or commit on the hub.
        hf_token: The access token of the hub. [`True` for the stored token.] (default: `HF_TOKEN`)
        download_dir: The folder of downloaded files.
        skip_tokenizer_init: Load no tokenizer: prompts are token ids, or inputs of a plugin.
        io_processor_plugin: The IO processor of the task `"plugin"`. (default: from config.json)
        text_steps: A text step of a plugin that texts pass, by name. [Or a list of names.] (default: from
            config.json)
        on_overflow: The default treatment of prompts over the maximum length: `"error"`, `"truncate"`, or
            `"chunk"` to embed them in pieces and merge the vectors.
        apply_default_prompt: Prepend the checkpoint's default prompt to each text, unless the call specifies
            another.
        chat_template: The template of messages, and of a cross-encoder's query and document, as Jinja text or
            the path of a file. (default: from the checkpoint)
        mixed_modality: The treatment of a prompt with text and an image, for models that read one or the other:
            `"error"`, or `"mean"` for the mean of both vectors.
        allowed_media_domains: A host from which images may be fetched; `*.example.org` for its subdomains, `*`
            for all public hosts. [Or a list of hosts.] (default: none)
        allowed_local_media_path: The folder from which images with `file://` URLs may be read. [A
            `pathlib.Path` in a prompt may be any file.] (default: none)
        mm_processor_kwargs: The sizes at which images are read, such as `{"max_pixels": 401408}`; the names
            depend on the model. Requests over HTTP may reduce them.
        limit_mm_per_prompt: The maximum number of images of a prompt, such as `{"image": 2}`, up to 1024; by
            default 32, or 1 for models that read one image per prompt.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, or `"auto"` for a GPU if there is one.
        kernels: The implementation of an op, such as `attention=sdpa`. [A dict, such as `{"attention":
            "sdpa"}`.]
        quantization: `"int8"` computes in 8-bit integers: similar results, and faster on x86-64 CPUs with at
            least AVX2. `"bfloat16"` is the scheme of `dtype="bfloat16"` on a CPU.
        batch_invariant: Return the same bits for each prompt, independent of the other prompts in its batch.
        deduplicate: Compute equal prompts of a call once; each still has its own output.
        enable_prefix_caching: Compute the tokens with which all prompts of a call begin once, such as the
            instruction and the query of a rerank, if the model is a decoder.
        cache: The cache of results: a folder, or `"memory"` or `"memory:512MB"` for a cache in memory.
            (default: none)
        cache_size: The maximum size of the cache, such as `"10GB"`. [Or a number of bytes.] (default: 10GB for
            a folder, 512MB in memory)
        max_num_batched_tokens: The maximum number of tokens of a batch; a longer prompt runs alone. (default:
            1024 on a CPU, 4096 to 65536 on a GPU, by its memory)
        max_num_seqs: The maximum number of prompts of a batch. (default: 512 on a CPU, 4096 on a GPU)
        max_waiting_tokens: The maximum number of waiting tokens; requests over it are refused. [Only for
            `AsyncLLM`.] (default: 1000000)
        num_workers: The number of single-threaded workers on a CPU. On CUDA: the number of batches in flight,
            by default 1. (default: one per core)
        cuda_graphs: Launch small batches on a CUDA device with recorded graphs; not yet tested on a GPU.
        data_parallel_size: The number of engine processes that share the prompts: one for each GPU, or for a
            part of the CPU.
        data_parallel_backend: The executor of several engine processes: `"mp"` for processes on this machine,
            or that of a plugin.
        devices: The device of each engine process, separated by commas, such as `cuda:0,cuda:1`. [Or a list.]
        tokenizer: The name of the model itself; the tokenizer of another model is not supported.
    """

    runner: Annotated[str, "auto"]
    convert: Annotated[str, "auto"]
    dtype: Annotated[str, "auto"]
    model_impl: Annotated[str, "auto"]
    max_model_len: Annotated[int | None, None]
    pooler_config: Annotated["PoolerConfig | Mapping[str, object] | str | None", None]
    hf_overrides: Annotated[Mapping[str, Any] | Callable[[Any], Any] | None, None]
    trust_remote_code: Annotated[bool, False]
    allow_pickle: Annotated[bool, False]
    revision: Annotated[str | None, None]
    hf_token: Annotated[str | bool | None, None]
    download_dir: Annotated[str | None, None]
    skip_tokenizer_init: Annotated[bool, False]
    io_processor_plugin: Annotated[str | None, None]
    text_steps: Annotated[str | Sequence[str] | None, None]
    on_overflow: Annotated[str, "error"]
    apply_default_prompt: Annotated[bool, False]
    chat_template: Annotated[str | PathLike[str] | None, None]
    mixed_modality: Annotated[str, "error"]
    allowed_media_domains: Annotated[str | Sequence[str] | None, None]
    allowed_local_media_path: Annotated[str | PathLike[str], ""]
    mm_processor_kwargs: Annotated[Mapping[str, object] | None, None]
    limit_mm_per_prompt: Annotated[Mapping[str, object] | None, None]
    device: Annotated[str, "auto"]
    kernels: Annotated[Mapping[str, str] | None, None]
    quantization: Annotated[str | None, None]
    batch_invariant: Annotated[bool, False]
    deduplicate: Annotated[bool, True]
    enable_prefix_caching: Annotated[bool, True]
    cache: Annotated[str | PathLike[str] | None, None]
    cache_size: Annotated[int | str | None, None]
    max_num_batched_tokens: Annotated[int | None, None]
    max_num_seqs: Annotated[int | None, None]
    max_waiting_tokens: Annotated[int | None, None]
    num_workers: Annotated[int | None, None]
    cuda_graphs: Annotated[bool, False]
    data_parallel_size: Annotated[int, 1]
    data_parallel_backend: Annotated[str, "mp"]
    devices: Annotated[str | Sequence[str] | None, None]
    tokenizer: Annotated[str | None, None]


DEFAULTS: Final[Mapping[str, Any]] = {
    name: annotation.__metadata__[0] for name, annotation in ModelArgs.__annotations__.items()
}
_DESCRIPTIONS: Final[Mapping[str, str]] = {
    name: " ".join(text.split())
    for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", cleandoc(ModelArgs.__doc__ or ""), re.MULTILINE)
}


def describe(name: str, *, python: bool = False) -> str:
    """Return the description of an option, and of values that only ``python`` can pass, with the default in words."""
    text = _DESCRIPTIONS.get(name, "")  # empty if Python runs without docstrings
    return re.sub(r"[\[\]]", "", text) if python else re.sub(r" \[.*?\]", "", text)
