"""LLM: the offline front door. A thin front: the loading, the pipeline and the engine do the work."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Never, Self

from millpond.loading.arguments import read_arguments
from millpond.loading.source import find_repository
from millpond.pipeline.call import Call, R
from millpond.pipeline.offline import OfflineTurner
from millpond.pipeline.pipeline import Pipeline
from millpond.plugin.manager import get_plugin_manager
from millpond.task_methods import Progress, Shape, TaskMethods
from millpond.types.config import EngineConfig, PoolerConfig
from millpond.types.outputs import (
    ChunksRequestOutput,
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    EntitiesRequestOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringRequestOutput,
    SparseEmbeddingRequestOutput,
)

if TYPE_CHECKING:
    import numpy as np  # noqa: F401  in the type of arrays
    from numpy.typing import NDArray  # noqa: F401
    from transformers import PreTrainedTokenizerBase

    from millpond.loading.resolve import Overrides
    from millpond.plugin.manager import PluginManager


class LLM(
    TaskMethods[
        Progress,
        Never,
        list[EmbeddingRequestOutput],
        "NDArray[np.float32]",
        list[SparseEmbeddingRequestOutput],
        list[ChunksRequestOutput],
        list[ClassificationRequestOutput],
        list[EntitiesRequestOutput],
        list[ScoringRequestOutput],
        list[RepresentationsRequestOutput],
        list[PoolingRequestOutput[Any]],
    ]
):
    """A pooling model, ready to be asked; ``with LLM(...) as llm:`` or ``llm.close()`` ends its workers.

    Calls from several threads take turns.

    Attributes:
        model_config: What is known of the model: ``max_model_len``, ``hf_config``, ``pooler_config``, ``tasks``.
    """

    def __init__(
        self,
        model: str,
        *,
        runner: str = "auto",
        convert: str = "auto",
        dtype: str = "auto",
        model_impl: str = "auto",
        max_model_len: int | None = None,
        pooler_config: PoolerConfig | Mapping[str, object] | str | None = None,
        hf_overrides: "Overrides" = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        revision: str | None = None,
        hf_token: str | bool | None = None,
        download_dir: str | None = None,
        skip_tokenizer_init: bool = False,
        io_processor_plugin: str | None = None,
        on_overflow: str = "error",
        apply_default_prompt: bool = False,
        chat_template: str | PathLike[str] | None = None,
        mixed: str = "error",
        allowed_media_domains: str | Sequence[str] | None = None,
        allowed_local_media_path: str | PathLike[str] = "",
        mm_processor_kwargs: Mapping[str, object] | None = None,
        limit_mm_per_prompt: Mapping[str, object] | None = None,
        device: str = "auto",
        kernels: Mapping[str, str] | None = None,
        quantization: str | None = None,
        deterministic: bool = False,
        dedupe: bool = True,
        max_num_batched_tokens: int | None = None,
        max_num_seqs: int | None = None,
        num_workers: int | None = None,
        profile: bool | str | PathLike[str] | None = None,
        plugins: "PluginManager | None" = None,
        **other: object,
    ) -> None:
        """Load a model.

        Args:
            model: A folder, a hub id (``org/name``), or ``scheme:name`` to ask one source.
            runner: "auto" or "pooling".
            convert: The converter that makes a pooling model of another; "auto" chooses, "none" forbids.
            dtype: "auto" keeps the checkpoint's, in float32 where the device does not compute in it natively.
            model_impl: Whose code computes the model: "native", or "transformers" for the class of transformers; "auto"
                takes what is native, else the other.
            max_model_len: The most tokens of a prompt; by default what the checkpoint states.
            pooler_config: How hidden states become the result, as object, dict or JSON text.
            hf_overrides: Replaces parts of config.json: a dict, or a function of the config that returns one.
            trust_remote_code: Whether code in the model's folder may be run; native models have no use for it.
            allow_pickle: Whether weights may be pickles, read with ``weights_only=True``.
            revision: The hub's branch, tag or commit.
            hf_token: The hub's access token.
            download_dir: The folder that downloads are kept in.
            skip_tokenizer_init: Load no tokenizer: prompts are token ids.
            io_processor_plugin: The IO processor that serves ``pooling_task="plugin"``; by default the one config.json
                names.
            on_overflow: What becomes of a prompt over the model's maximum where the call does not say: "error",
                "truncate", or "chunk" to embed it in pieces and merge these.
            apply_default_prompt: Whether the prompt that the checkpoint names as its default is put before texts.
            chat_template: The template by which a cross-encoder's query and document become one text, as Jinja text or
                the path of a file.
            mixed: What becomes of a prompt with text and an image, for models that read one or the other: "error", or
                "mean" for the mean of both vectors.
            allowed_media_domains: The hosts that images may be fetched from where prompts name them by URL;
                ``*.example.org`` for all below one, ``*`` for any public one. By default none.
            allowed_local_media_path: The folder whose files ``file://`` URLs may name; by default none. A
                ``pathlib.Path`` in a prompt is the program's own, and may be any file.
            mm_processor_kwargs: How large images are read, such as ``{"max_pixels": 401408}``; a prompt may say
                otherwise, and requests over HTTP may make them smaller. What there is depends on the model.
            limit_mm_per_prompt: The most images of a prompt, such as ``{"image": 2}``.
            device: "auto", "cpu", "cuda", "cuda:1" ...
            kernels: The variants of ops to take, such as ``{"attention": "sdpa"}``.
            quantization: "int8" computes the model's linear maps in 8-bit integers: close to the same, and faster on
                x86-64 CPUs with AVX2 or more; None leaves all in the dtype.
            deterministic: Whether each result is the same to the bit whatever else is in the call and its batches.
            dedupe: Whether prompts that are equal within a call are computed once; each has its output all the same.
            max_num_batched_tokens: The most tokens of a batch.
            max_num_seqs: The most prompts of a batch.
            num_workers: Single-threaded workers on a CPU; by default one a core.
            profile: Removed, without effect.
            plugins: The plugins to use; by default all that are installed.
            **other: vLLM's arguments: those with a meaning here are taken, the rest are accepted and logged.

        Raises:
            ModelNotFoundError: If no source has the model.
            CheckpointError: If its files are damaged or contradict each other.
            UnknownNameError: If nothing serves its architecture.
            InvalidInputError: If an argument does not fit.
        """
        arguments = read_arguments(
            {
                "runner": runner,
                "convert": convert,
                "dtype": dtype,
                "model_impl": model_impl,
                "max_model_len": max_model_len,
                "pooler_config": pooler_config,
                "hf_overrides": hf_overrides,
                "trust_remote_code": trust_remote_code,
                "allow_pickle": allow_pickle,
                "revision": revision,
                "hf_token": hf_token,
                "download_dir": download_dir,
                "skip_tokenizer_init": skip_tokenizer_init,
                "io_processor_plugin": io_processor_plugin,
                "on_overflow": on_overflow,
                "apply_default_prompt": apply_default_prompt,
                "chat_template": None if chat_template is None else fspath(chat_template),
                "mixed": mixed,
                "allowed_media_domains": allowed_media_domains,
                "allowed_local_media_path": allowed_local_media_path,
                "mm_processor_kwargs": mm_processor_kwargs,
                "limit_mm_per_prompt": limit_mm_per_prompt,
                "device": device,
                "kernels": kernels,
                "quantization": quantization,
                "deterministic": deterministic,
                "dedupe": dedupe,
                "max_num_batched_tokens": max_num_batched_tokens,
                "max_num_seqs": max_num_seqs,
                "num_workers": num_workers,
                "profile": profile,
                **other,
            }
        )
        plugins = plugins or get_plugin_manager()
        repository = find_repository(plugins.registry, model, arguments.source)  # a name mistyped is told of at once
        from millpond.engine.engine import Engine  # noqa: PLC0415  needs torch
        from millpond.engine.runner import Runner  # noqa: PLC0415
        from millpond.loading.build import load_model  # noqa: PLC0415

        self._loaded = load_model(repository, arguments, plugins)
        self.engine_config: EngineConfig = self._loaded.engine
        self.pipeline = Pipeline(self._loaded.context, dedupe=arguments.dedupe)
        self._engine = Engine(
            Runner(self._loaded.model, device=self._loaded.context.device, num_workers=self.engine_config.num_workers),
            self.engine_config,
        )
        self._turner = OfflineTurner(self.pipeline, self._engine, self.engine_config)
        self._lock = threading.Lock()

    @property
    def pooling_task(self) -> str | None:
        """The task that ``encode`` takes when none is named; None if it must be named."""
        return self.model_config.pooler_config.task

    @property
    def llm_engine(self) -> Self:
        """The object with ``model_config``, where vLLM has it."""
        return self

    @property
    def vllm_config(self) -> Self:
        """The object with ``model_config``, where vLLM's code reads it: ``llm.llm_engine.vllm_config``."""
        return self

    def get_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's tokenizer, as transformers has it."""
        from transformers import AutoTokenizer

        folder = str(self._loaded.resolution.repository.transformer_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer

    def close(self) -> None:
        """End the workers, once the calls of other threads are done. The model cannot be asked afterwards."""
        with self._lock:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, call: Call[R], use_tqdm: Progress, shape: Shape | None = None) -> Any:
        processor, items = self.pipeline.split(call.prompts, call.params, call.task, raises=call.raises)
        places = self.pipeline.places(items)
        outputs: list[PoolingRequestOutput[Any] | None] = [None] * len(items)
        with self._lock, _progress(use_tqdm, len(items)) as bar:
            try:
                for job in self._turner.jobs(processor, list(places), items):
                    for place, output in self.pipeline.finish_all(job, places[job.index]):
                        if output.error is not None and call.raises:
                            raise output.error
                        outputs[place] = output
                    if bar is not None:
                        bar.update(len(places[job.index]))
            finally:
                self._engine.abort()
        ended = (output for output in outputs if output is not None)
        answers = self.pipeline.answers(call, processor, items, ended)
        return answers if shape is None else shape(answers)


def _progress(use_tqdm: Progress, total: int) -> AbstractContextManager[Any]:
    if not use_tqdm:
        return nullcontext()
    from tqdm import tqdm  # noqa: PLC0415  only for who wants to see it

    make = tqdm if use_tqdm is True else use_tqdm
    patience: dict[str, Any] = {"delay": 1.0} if use_tqdm is True else {}  # short work shows nothing
    bar: AbstractContextManager[Any] = make(total=total, desc="Processed prompts", dynamic_ncols=True, **patience)
    return bar
