"""LLM: the offline front door. A thin front: the loading, the pipeline and the engine do the work."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from millpond.loading.arguments import read_arguments
from millpond.loading.source import find_repository
from millpond.pipeline.call import (
    Call,
    Chunking,
    Options,
    R,
    chunks_call,
    classify_call,
    embed_call,
    encode_call,
    entities_call,
    represent_call,
    score_call,
    sparse_call,
)
from millpond.pipeline.offline import OfflineTurner
from millpond.pipeline.pipeline import Pipeline
from millpond.pipeline.tokenization import Params
from millpond.plugin.manager import get_plugin_manager
from millpond.types.arrays import Form, check_form, stacked
from millpond.types.config import EngineConfig, ModelConfig, PoolerConfig
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
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from millpond.loading.resolve import Overrides
    from millpond.plugin.manager import PluginManager

Progress = bool | Callable[..., Any]


class LLM:
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
    def model_config(self) -> ModelConfig:
        """What is known of the model."""
        return self._loaded.config

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The pooling tasks of the model."""
        return self.pipeline.tasks

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

    @overload
    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Literal["objects"] = "objects",
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[EmbeddingRequestOutput]: ...

    @overload
    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Literal["array"],
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> "NDArray[np.float32]": ...

    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Form = "objects",
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> "list[EmbeddingRequestOutput] | NDArray[np.float32]":
        """Return one vector for each prompt, in the order of the prompts.

        Args:
            prompts: A text, a list of token ids, ``{"prompt": ...}``, ``{"prompt_token_ids": ...}``; or a list of
                these.
            dimensions: Keep the first N dimensions, of models trained for it (Matryoshka).
            output: "objects" for a list of outputs, "array" for one float32 array, [num_prompts, dim]; with
                ``on_error="return"`` the row of a prompt that failed is NaN.
            use_tqdm: Whether long work shows its progress on stderr; or what to make the progress bar with.
            pooling_params: Parameters for all prompts, or one for each.
            **options: What may be said of every call; see ``Options``:
                ``truncate_prompt_tokens`` cuts prompts to so many tokens, -1 to the model's maximum (by default a
                prompt that is too long is an error); ``tokenization_kwargs`` says the same as in vLLM;
                ``on_overflow`` is "error", "truncate" or "chunk"; ``prompt_name`` or ``prompt`` is put before each
                text; ``input_type`` "query" or "document", or ``is_query``, says what they are to models that read the
                two in different ways; ``on_error`` is "raise" for the first error, or "return" for it as ``error`` of
                the prompt's output; ``lora_request`` is not supported.

        Raises:
            InvalidInputError: If a prompt or a parameter cannot be served; names the prompt's place.
            EngineError: If the model fails on a prompt.
        """
        check_form(output)
        outputs = self._answer(embed_call(prompts, pooling_params, options, dimensions=dimensions), use_tqdm)
        return stacked(outputs, dimensions or self.model_config.embedding_size or 0) if output == "array" else outputs

    def embed_sparse(
        self,
        prompts: object,
        *,
        return_tokens: bool = False,
        max_active_dims: int | None = None,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[SparseEmbeddingRequestOutput]:
        """The weights of tokens of the vocabulary for each prompt: ``output.outputs.indices`` and ``.values``.

        Of models whose embeddings are such weights, as SPLADE's are, and of those that have a head for them beside
        their vectors, as bge-m3 does.

        Args:
            prompts: As for ``embed``.
            return_tokens: Whether the tokens are given as text too, as ``output.outputs.tokens``.
            max_active_dims: Keep the heaviest so many; None for all that are not 0.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        extra = {"return_tokens": return_tokens or None, "max_active_dims": max_active_dims}
        return self._answer(sparse_call(prompts, pooling_params, options, extra), use_tqdm)

    def embed_chunks(
        self,
        texts: object,
        *,
        spans: object = None,
        chunk_tokens: int | None = None,
        overlap: int = 0,
        method: str = "late",
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[ChunksRequestOutput]:
        """One vector a chunk of each text: ``for chunk in output.outputs: chunk.embedding, chunk.start, chunk.text``.

        With late chunking (Günther et al. 2024, arXiv 2409.04701) the model reads the whole text, and what ``embed``
        does with all its tokens is done with those of each chunk. What stands before the text, special tokens and a
        prompt, is pooled with the chunk that begins it, what stands behind with the one that ends it. A text over the
        model's maximum is read in windows that overlap by half, each chunk in the one that gives it the most context.

        Args:
            texts: A text, or a list.
            spans: The characters of each chunk, ``[(start, stop), ...]``; for several texts, a list of such lists. A
                token is of a chunk if it overlaps it.
            chunk_tokens: Instead: cut texts into chunks of so many of their tokens.
            overlap: So many of them each chunk shares with the one before it.
            method: "late", or "naive" to embed each chunk as a text of its own.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``; texts cannot be cut, and ``on_overflow="error"`` refuses those that are too
                long.

        Raises:
            InvalidInputError: If a span holds no token, or a chunk has more tokens than the model reads.
        """
        chunking = Chunking(spans=spans, chunk_tokens=chunk_tokens, overlap=overlap, method=method)
        return self._answer(chunks_call(texts, pooling_params, options, chunking), use_tqdm)

    def classify(
        self,
        prompts: object,
        *,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[ClassificationRequestOutput]:
        """The probabilities of the classes of each prompt: ``output.outputs.probs``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``; with ``use_activation=False`` the logits are given.
            **options: As for ``embed``.
        """
        return self._answer(classify_call(prompts, pooling_params, options), use_tqdm)

    def entities(
        self,
        texts: object,
        *,
        aggregation: str = "simple",
        ignore_labels: Sequence[str] = ("O",),
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[EntitiesRequestOutput]:
        """The entities in each text: ``for entity in output.outputs: entity.label, entity.start, entity.end``.

        Of models that classify tokens. The ways are those of ``TokenClassificationPipeline`` in transformers.

        Args:
            texts: A text, or a list.
            aggregation: "none" tells each token; "simple" joins neighbours of one kind, where ``B-`` begins anew; the
                others let each word be of one kind before that: of its "first" token's, of the mean's over its tokens
                ("average"), of its surest token's ("max").
            ignore_labels: The kinds that are left out.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        extra = {"aggregation": aggregation, "ignore_labels": ignore_labels}
        return self._answer(entities_call(texts, pooling_params, options, extra), use_tqdm)

    def reward(
        self,
        prompts: object,
        /,
        *,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[PoolingRequestOutput[Any]]:
        """The rewards of the tokens of each prompt, or of its steps: ``output.outputs.data`` is [rows, num_labels].

        The same as ``encode(..., pooling_task="token_classify")``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        return self.encode(prompts, pooling_params, use_tqdm=use_tqdm, pooling_task="token_classify", **options)

    def score(
        self,
        data_1: object,
        data_2: object,
        /,
        *,
        use_tqdm: Progress = True,
        pooling_params: PoolingParams | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, object] | None = None,
        instruction: str | None = None,
        max_tokens_per_query: int | None = None,
        max_tokens_per_doc: int | None = None,
        **options: Unpack[Options],
    ) -> list[ScoringRequestOutput]:
        """How well queries and documents go together: ``output.outputs.score``.

        A cross-encoder reads each pair; with an embedding model the score is the cosine of the two vectors, or the
        similarity that its checkpoint names; with a model of late interaction it is the sum of the best matches of the
        query's tokens (MaxSim).

        Args:
            data_1: A query, or a list: one for all documents, or one for each. A text; for models that read images also
                ``{"image": ...}``, or ``{"content": [...]}`` with parts as messages have them.
            data_2: A document, or a list, likewise.
            use_tqdm: As for ``embed``.
            pooling_params: Parameters for all pairs.
            chat_template: The template of a pair for a cross-encoder, as Jinja text or the path of a file.
            chat_template_kwargs: Further variables of the template.
            instruction: What a reranker that takes instructions is to judge by.
            max_tokens_per_query: Cut queries to so many tokens; 0 for no limit.
            max_tokens_per_doc: Cut documents to so many tokens; 0 for no limit.
            **options: As for ``embed``.
        """
        extra = {
            "chat_template": chat_template,
            "chat_template_kwargs": chat_template_kwargs,
            "instruction": instruction,
            "max_tokens_per_query": max_tokens_per_query,
            "max_tokens_per_doc": max_tokens_per_doc,
        }
        return self._answer(score_call(data_1, data_2, pooling_params, options, extra), use_tqdm)

    def represent(
        self,
        prompts: object,
        representations: Sequence[Mapping[str, object]],
        *,
        use_tqdm: Progress = True,
        **options: Unpack[Options],
    ) -> list[RepresentationsRequestOutput]:
        """Several results of each prompt from one forward pass: ``output.outputs.results``.

        Args:
            prompts: As for ``embed``.
            representations: What is wanted of each prompt: the fields of ``PoolingParams``, such as
                ``{"task": "embed", "dimensions": 128}`` and ``{"task": "token_embed"}``.
            use_tqdm: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._answer(represent_call(prompts, representations, options), use_tqdm)

    def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        use_tqdm: Progress = True,
        pooling_task: str | None = None,
        **options: Unpack[Options],
    ) -> list[PoolingRequestOutput[Any]]:
        """The bare result of any pooling task: ``output.outputs.data`` is a tensor.

        Args:
            prompts: As for ``embed``; for ``pooling_task="plugin"``, ``{"data": ...}``.
            pooling_params: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_task: "embed", "token_embed", "classify", "token_classify", "plugin", or another task that the
                model serves.
            **options: As for ``embed``.
        """
        return self._answer(encode_call(prompts, pooling_params, pooling_task, options), use_tqdm)

    def close(self) -> None:
        """End the workers, once the calls of other threads are done. The model cannot be asked afterwards."""
        with self._lock:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, call: Call[R], use_tqdm: Progress) -> list[R]:
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
        return self.pipeline.answers(call, processor, items, ended)


def _progress(use_tqdm: Progress, total: int) -> AbstractContextManager[Any]:
    if not use_tqdm:
        return nullcontext()
    from tqdm import tqdm  # noqa: PLC0415  only for who wants to see it

    make = tqdm if use_tqdm is True else use_tqdm
    patience: dict[str, Any] = {"delay": 1.0} if use_tqdm is True else {}  # short work shows nothing
    bar: AbstractContextManager[Any] = make(total=total, desc="Processed prompts", dynamic_ncols=True, **patience)
    return bar
