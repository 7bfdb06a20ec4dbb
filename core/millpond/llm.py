"""LLM: the offline API, a thin layer over loading, pipeline and engine."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from millpond.base_llm import CHUNKS_ARGUMENTS, EMBED_ARGUMENTS, BaseLLM
from millpond.executor import open_executor
from millpond.loading.arguments import read_arguments, takes_model_args
from millpond.pipeline.call import EmbedOptions, Options, requested, single_params
from millpond.pipeline.offline import SyncDriver
from millpond.pipeline.pipeline import load_pipeline
from millpond.pipeline.tokenization import Params
from millpond.plugin.manager import get_plugin_manager
from millpond.types.arrays import Form, stacked
from millpond.types.model_args import ModelArgs
from millpond.types.outputs import (
    ChunksRequestOutput,
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringRequestOutput,
    SparseEmbeddingRequestOutput,
)
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall, ScoreCall

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from millpond.plugin.manager import PluginManager
    from millpond.types.config import EngineConfig

Progress = bool | Callable[..., Any]


class LLM(BaseLLM):
    """A loaded pooling model; ``with LLM(...) as llm:`` or ``llm.close()`` stops its workers.

    Calls from several threads run one after another.

    Attributes:
        model_config: The facts about the model: ``max_model_len``, ``hf_config``, ``pooler_config``, ``tasks``.
        cache: The cache of results, with the numbers of its ``hits`` and ``misses``; None without one.
    """

    @takes_model_args
    def __init__(self, model: str, *, plugins: "PluginManager | None" = None, **arguments: Unpack[ModelArgs]) -> None:
        """Load a model.

        Args:
            model: A folder, a hub id (``org/name``), ``scheme:name`` to use only one source, or a model file (.toml).
            plugins: The plugins to use; by default all installed ones.
            **arguments: The options of ``ModelArgs``. vLLM's arguments are accepted too; those without a meaning here
                are logged and ignored.

        Raises:
            ModelNotFoundError: If no source has the model.
            CheckpointError: If its files are damaged or contradict each other.
            UnknownNameError: If no plugin provides its architecture.
            InvalidInputError: If an argument is invalid.
        """
        super().__init__()
        plugins = plugins or get_plugin_manager()
        options = read_arguments(arguments, plugins.registry)
        self._loaded, self.pipeline, self.cache = load_pipeline(model, options, plugins)
        from millpond.engine.engine import Engine  # noqa: PLC0415  needs torch

        self.engine_config: EngineConfig = self._loaded.engine
        executor = open_executor(self._loaded, options, plugins)
        self._engine = Engine(executor, self.engine_config)
        self._driver = SyncDriver(self._loaded.context.model, self._engine, self.engine_config, self.cache)
        self._lock = threading.Lock()

    @property
    def pooling_task(self) -> str | None:
        """The default task of ``encode``; None if calls must name the task."""
        return self.model_config.pooler_config.task

    @property
    def llm_engine(self) -> Self:
        """The object with ``model_config``, at the same place as in vLLM."""
        return self

    @property
    def vllm_config(self) -> Self:
        """The object with ``model_config``, at the same place as in vLLM: ``llm.llm_engine.vllm_config``."""
        return self

    def get_tokenizer(self) -> "PreTrainedTokenizerBase":
        """Return the model's tokenizer as a transformers object."""
        from transformers import AutoTokenizer

        folder = str(self._loaded.layers.repository.transformer_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer

    @overload
    def embed(
        self,
        prompts: object,
        *,
        use_tqdm: Progress = ...,
        output: Literal["objects"] = ...,
        **options: Unpack[EmbedOptions],
    ) -> list[EmbeddingRequestOutput]: ...

    @overload
    def embed(
        self, prompts: object, *, use_tqdm: Progress = ..., output: Literal["array"], **options: Unpack[EmbedOptions]
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

        A model that was loaded with ``PoolerConfig(task="token_embed")``, or that has only token vectors, like ColBERT,
        returns one vector per token: ``outputs`` is a ``TokenEmbeddingsOutput``. ``PoolingParams(task="embed")``
        requests one vector per prompt.

        Args:
            prompts: A text, a list of token ids, ``{"prompt": ...}``, ``{"prompt_token_ids": ...}``; or a list of
                these.
            dimensions: Keep the first N dimensions, for models trained for it (Matryoshka).
            output: "objects" for a list of outputs, "array" for one float32 array, [num_prompts, dim]; with
                ``on_error="return"`` the row of a prompt that failed is NaN.
            use_tqdm: For ``LLM``: True shows the progress of long calls on stderr; a function creates the bar.
            pooling_params: Parameters for all prompts, or one for each.
            **options: The options of every call; see ``Options``:
                ``truncate_prompt_tokens`` truncates prompts to N tokens, -1 to the model's maximum (by default, a
                prompt that is too long is an error); ``tokenization_kwargs`` is the same as in vLLM; ``on_overflow`` is
                "error", "truncate" or "chunk"; ``prompt_name`` or ``prompt`` selects the prompt that precedes each
                text; ``input_type`` "query" or "document", or ``is_query``, is for models that read the two in
                different ways; ``on_error`` is "raise" to raise the first error, or "return" to return it as ``error``
                of the prompt's output; ``lora_request`` is not supported; ``priority``, for ``AsyncLLM``: lower numbers
                are served first.

        Raises:
            InvalidInputError: If a prompt or a parameter is invalid; the message contains the index of the prompt.
            EngineError: If the model fails on a prompt.
            EngineOverloadedError: With ``AsyncLLM``, if too many tokens are waiting.
        """
        task, params = self._embedding_task(pooling_params, dimensions, output)
        outputs = self._run(task, prompts, params, options, use_tqdm, arguments=EMBED_ARGUMENTS)
        if output == "objects":
            return outputs
        return stacked(outputs, dimensions or self.model_config.embedding_size or 0)

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
        """Return weights of vocabulary tokens for each prompt: ``output.outputs.indices`` and ``.values``.

        For models with sparse embeddings, such as SPLADE, and for models with an additional sparse head, such as
        bge-m3.

        Args:
            prompts: As for ``embed``.
            return_tokens: Also return the tokens as text, as ``output.outputs.tokens``.
            max_active_dims: Keep the N largest weights; None keeps all nonzero weights.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        task_options = {"return_tokens": return_tokens or None, "max_active_dims": max_active_dims}
        return self._run("embed_sparse", prompts, pooling_params, {**options, **task_options}, use_tqdm)

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
        """Return one vector per chunk of each text.

        ``for chunk in output.outputs: chunk.embedding, chunk.start, chunk.text``. With late chunking (Günther et al.
        2024, arXiv 2409.04701), the model reads the whole text, and the tokens of each chunk are pooled as in
        ``embed``. Special tokens and a prompt before the text are pooled with the first chunk, those after it with the
        last one. A text over the model's maximum is read in windows that overlap by half, each chunk in the window with
        the most context around it.

        Args:
            texts: A text, or a list.
            spans: The characters of each chunk, ``[(start, stop), ...]``; for several texts, a list of such lists. A
                token belongs to a chunk if it overlaps it.
            chunk_tokens: Instead of ``spans``: split texts into chunks of N tokens.
            overlap: The number of tokens that each chunk shares with the previous one.
            method: "late", or "naive" to embed each chunk as a separate text.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``; texts cannot be truncated, and ``on_overflow="error"`` rejects texts over the
                model's maximum.

        Raises:
            InvalidInputError: If a span contains no token, or a chunk has more tokens than the model's maximum.
        """
        call = ChunksCall(texts, spans, chunk_tokens, overlap, method)
        return self._run("embed_chunks", call, pooling_params, options, use_tqdm, arguments=CHUNKS_ARGUMENTS)

    def classify(
        self, prompts: object, *, use_tqdm: Progress = True, pooling_params: Params = None, **options: Unpack[Options]
    ) -> list[ClassificationRequestOutput]:
        """Return the probabilities of the classes for each prompt: ``output.outputs.probs``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``; ``use_activation=False`` returns the logits.
            **options: As for ``embed``.
        """
        return self._run("classify", prompts, pooling_params, options, use_tqdm)

    def reward(
        self,
        prompts: object,
        /,
        *,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Unpack[Options],
    ) -> list[PoolingRequestOutput[Any]]:
        """Return the rewards of the tokens or steps of each prompt: ``output.outputs.data`` is [rows, num_labels].

        The same as ``encode(..., pooling_task="token_classify")``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._run("token_classify", prompts, pooling_params, options, use_tqdm, plain=True)

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
        """Return the relevance of documents to queries: ``output.outputs.score``.

        A cross-encoder reads each pair as one sequence. With an embedding model, the score is the cosine of the two
        vectors, or the similarity function that its checkpoint names. With a late-interaction model, it is the sum of
        the best matches of the query's tokens (MaxSim).

        Args:
            data_1: A query for all documents, or a list with one for each. A text; for models that read images, also
                ``{"image": ...}``, or ``{"content": [...]}`` with parts as in messages.
            data_2: A document, or a list; the same forms as ``data_1``.
            use_tqdm: As for ``embed``.
            pooling_params: Parameters for all pairs.
            chat_template: The template for the pairs of a cross-encoder, as Jinja text or the path of a file.
            chat_template_kwargs: Additional variables of the template.
            instruction: The instruction, for rerankers that support one.
            max_tokens_per_query: Truncate queries to N tokens; 0 for no limit.
            max_tokens_per_doc: Truncate documents to N tokens; 0 for no limit.
            **options: As for ``embed``.
        """
        task_options = {
            "chat_template": chat_template,
            "chat_template_kwargs": chat_template_kwargs,
            "instruction": instruction,
            "max_tokens_per_query": max_tokens_per_query,
            "max_tokens_per_doc": max_tokens_per_doc,
        }
        pairs, params = ScoreCall(data_1, data_2), single_params(pooling_params)
        return self._run("score", pairs, params, {**options, **task_options}, use_tqdm)

    def represent(
        self,
        prompts: object,
        representations: Sequence[Mapping[str, object]],
        *,
        use_tqdm: Progress = True,
        **options: Unpack[Options],
    ) -> list[RepresentationsRequestOutput]:
        """Return several results of each prompt from one forward pass: ``output.outputs.results``.

        Args:
            prompts: As for ``embed``.
            representations: The results of each prompt: fields of ``PoolingParams``, such as
                ``{"task": "embed", "dimensions": 128}`` and ``{"task": "token_embed"}``.
            use_tqdm: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._run("represent", prompts, None, {**options, **requested(representations)}, use_tqdm)

    def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        use_tqdm: Progress = True,
        pooling_task: str | None = None,
        **options: Unpack[Options],
    ) -> list[PoolingRequestOutput[Any]]:
        """Return the raw result of any pooling task: ``output.outputs.data`` is a tensor.

        Args:
            prompts: As for ``embed``; for ``pooling_task="plugin"``, ``{"data": ...}``.
            pooling_params: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_task: "embed", "token_embed", "classify", "token_classify", "plugin", or another task of the model.
            **options: As for ``embed``.
        """
        return self._run(pooling_task, prompts, pooling_params, options, use_tqdm, plain=True)

    def close(self) -> None:
        """Stop the workers after the calls of other threads. Later calls raise EngineClosedError."""
        if self._is_fork():
            return  # the workers belong to the process that this one is a fork of
        with self._lock:
            self._engine.close()
            if self.cache is not None:
                self.cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_task(
        self,
        task: str,
        prompts: object,
        *,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        **options: Any,
    ) -> list[Any]:
        return self._run(task, prompts, pooling_params, options, use_tqdm)

    def _run(
        self,
        name: str | None,
        prompts: object,
        params: Params,
        options: Mapping[str, object],
        use_tqdm: Progress,
        *,
        arguments: tuple[str, ...] = (),
        plain: bool = False,
    ) -> list[Any]:
        self._check_process()
        task, items, raises = self._read(name, prompts, params, options, arguments)
        groups = task.groups(items)
        outputs: list[Any] = [None] * len(items)
        with self._lock, _progress_bar(use_tqdm, len(items)) if use_tqdm else nullcontext() as bar:
            try:
                for jobs in self._driver.run(task, list(groups), items):
                    finished = task.finish(jobs, groups, plain=plain) if jobs else ()
                    for index, output in finished:
                        if output.error is not None and raises:
                            raise output.error
                        outputs[index] = output
                    if bar is not None:
                        bar.update(len(finished))
            finally:
                if self._engine.num_unfinished:  # after an error
                    self._engine.abort()
        return task.numbered(items, outputs)


def _progress_bar(use_tqdm: Progress, total: int) -> AbstractContextManager[Any]:
    from tqdm import tqdm  # noqa: PLC0415  only needed for calls with a progress bar

    make_bar = use_tqdm if callable(use_tqdm) else tqdm
    delay: dict[str, Any] = {"delay": 1.0} if use_tqdm is True else {}  # short calls show no bar
    bar: AbstractContextManager[Any] = make_bar(total=total, desc="Processed prompts", dynamic_ncols=True, **delay)
    return bar
