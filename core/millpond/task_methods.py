"""TaskMethods: the task methods of LLM and AsyncLLM, declared once for both.

The class is generic over the results, because a method of ``LLM`` returns a list and that of ``AsyncLLM`` an awaitable
of the list: each class declares its result types once, so that type checkers infer them exactly. ``Never`` is the type
of an argument that only the other class accepts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from millpond.model.spec import ResolvedModel
from millpond.pipeline.bound_task import BoundTask, output_of
from millpond.pipeline.call import (
    Options,
    TaskCall,
    chunks_call,
    classify_call,
    embed_call,
    encode_call,
    method_call,
    represent_call,
    score_call,
    sparse_call,
)
from millpond.pipeline.io_processor import Item
from millpond.pipeline.pipeline import Pipeline
from millpond.pipeline.tokenization import Params
from millpond.types.arrays import Form, check_form, check_stackable, stacked
from millpond.types.outputs import PoolingRequestOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel
    from millpond.types.services import Space

Progress = bool | Callable[..., Any]
Shape = Callable[[list[Any]], Any]
"""Converts the outputs of a call to its result."""
SHOW_PROGRESS: Any = True  # default of use_tqdm

Show = TypeVar("Show")
Priority = TypeVar("Priority")
Embeddings = TypeVar("Embeddings")
Array = TypeVar("Array")
SparseEmbeddings = TypeVar("SparseEmbeddings")
Chunks = TypeVar("Chunks")
Classifications = TypeVar("Classifications")
Scores = TypeVar("Scores")
Representations = TypeVar("Representations")
Results = TypeVar("Results")
T = TypeVar("T")


class CallOptions(Options, Generic[Priority], total=False):
    """The options of every call.

    Attributes:
        priority: For ``AsyncLLM``: lower numbers are served first.
    """

    priority: Priority


class TaskMethods(
    ABC,
    Generic[
        Show,
        Priority,
        Embeddings,
        Array,
        SparseEmbeddings,
        Chunks,
        Classifications,
        Scores,
        Representations,
        Results,
    ],
):
    """A loaded model and its task methods; each builds a ``TaskCall`` and returns the result of ``_dispatch``."""

    _loaded: "LoadedModel"
    pipeline: Pipeline

    @property
    def model_config(self) -> ResolvedModel:
        """The facts about the model: names, limits, tasks, sizes."""
        return self._loaded.config

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The pooling tasks of the model."""
        return self.pipeline.tasks

    @cached_property
    def space(self) -> "Space":
        """The files and settings that decide the numbers of embeddings; ``space.descriptor`` is JSON.

        The first access reads all weights.

        Raises:
            CheckpointError: If a file has changed since the model was loaded.
        """
        self._loaded.layers.repository.require_unchanged()
        context = self._loaded.context
        space: Space = context.registry.services.get("space").load()(self.model_config, context.inputs)
        return space

    @property
    def space_id(self) -> str:
        """The short id of ``space``: embeddings with the same id can be compared."""
        return self.space.id

    @overload
    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Literal["objects"] = "objects",
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Embeddings: ...

    @overload
    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Literal["array"],
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Array: ...

    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Form = "objects",
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Embeddings | Array:
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
        if output != "objects":
            check_form(output)
        task = self.pipeline.embedding_task(pooling_params)
        call = embed_call(prompts, pooling_params, options, task=task, dimensions=dimensions)
        if output == "objects":
            return self._dispatch(call, use_tqdm)
        check_stackable(task)
        size = dimensions or self.model_config.embedding_size or 0
        return self._dispatch(call, use_tqdm, partial(stacked, size=size))

    def embed_sparse(
        self,
        prompts: object,
        *,
        return_tokens: bool = False,
        max_active_dims: int | None = None,
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> SparseEmbeddings:
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
        extra = {"return_tokens": return_tokens or None, "max_active_dims": max_active_dims}
        return self._dispatch(sparse_call(prompts, pooling_params, options, extra), use_tqdm)

    def embed_chunks(
        self,
        texts: object,
        *,
        spans: object = None,
        chunk_tokens: int | None = None,
        overlap: int = 0,
        method: str = "late",
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Chunks:
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
        return self._dispatch(chunks_call(call, pooling_params, options), use_tqdm)

    def classify(
        self,
        prompts: object,
        *,
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Classifications:
        """Return the probabilities of the classes for each prompt: ``output.outputs.probs``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``; ``use_activation=False`` returns the logits.
            **options: As for ``embed``.
        """
        return self._dispatch(classify_call(prompts, pooling_params, options), use_tqdm)

    def reward(
        self,
        prompts: object,
        /,
        *,
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Results:
        """Return the rewards of the tokens or steps of each prompt: ``output.outputs.data`` is [rows, num_labels].

        The same as ``encode(..., pooling_task="token_classify")``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._dispatch(encode_call(prompts, pooling_params, "token_classify", options), use_tqdm)

    def score(
        self,
        data_1: object,
        data_2: object,
        /,
        *,
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_params: PoolingParams | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, object] | None = None,
        instruction: str | None = None,
        max_tokens_per_query: int | None = None,
        max_tokens_per_doc: int | None = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Scores:
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
        extra = {
            "chat_template": chat_template,
            "chat_template_kwargs": chat_template_kwargs,
            "instruction": instruction,
            "max_tokens_per_query": max_tokens_per_query,
            "max_tokens_per_doc": max_tokens_per_doc,
        }
        return self._dispatch(score_call(data_1, data_2, pooling_params, options, extra), use_tqdm)

    def represent(
        self,
        prompts: object,
        representations: Sequence[Mapping[str, object]],
        *,
        use_tqdm: Show = SHOW_PROGRESS,
        **options: Unpack[CallOptions[Priority]],
    ) -> Representations:
        """Return several results of each prompt from one forward pass: ``output.outputs.results``.

        Args:
            prompts: As for ``embed``.
            representations: The results of each prompt: fields of ``PoolingParams``, such as
                ``{"task": "embed", "dimensions": 128}`` and ``{"task": "token_embed"}``.
            use_tqdm: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._dispatch(represent_call(prompts, representations, options), use_tqdm)

    def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        use_tqdm: Show = SHOW_PROGRESS,
        pooling_task: str | None = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Results:
        """Return the raw result of any pooling task: ``output.outputs.data`` is a tensor.

        Args:
            prompts: As for ``embed``; for ``pooling_task="plugin"``, ``{"data": ...}``.
            pooling_params: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_task: "embed", "token_embed", "classify", "token_classify", "plugin", or another task of the model.
            **options: As for ``embed``.
        """
        return self._dispatch(encode_call(prompts, pooling_params, pooling_task, options), use_tqdm)

    def _items(self, call: TaskCall[Any]) -> tuple[BoundTask, list[Item]]:
        """Return the task and the items of a call.

        Raises:
            InvalidInputError: If the call cannot be served.
            TypeError: If it has an unknown keyword argument.
        """
        task = self.pipeline.bound.get(call.task) if isinstance(call.task, str) else None
        task = task or self.pipeline.task_of(call.task, call.params)
        return task, task.items(call.prompts, call.params, call.options, raises=call.raises)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the method of a task that a plugin provides; the task's record contains its name.

        Like ``encode``, the method accepts prompts, the options of the task and those of every call.

        Raises:
            AttributeError: If no task has a method of that name.
        """
        pipeline: Pipeline | None = vars(self).get("pipeline")
        entry = None if pipeline is None else pipeline.task_with_method(name)
        if entry is None:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)  # Python then suggests a similar name
        method: Callable[..., Any] = self._method(name, entry.spec.name, output_of(entry), entry.spec.summary)
        return method

    def _method(self, name: str, task: str, output: type[PoolingRequestOutput[Any]], summary: str) -> Any:
        """Return the method of a task."""

        def run(
            self: Any,
            prompts: object,
            *,
            use_tqdm: Any = SHOW_PROGRESS,
            pooling_params: Params = None,
            **options: Any,
        ) -> Any:
            return self._dispatch(method_call(prompts, pooling_params, task, options, output), use_tqdm)

        run.__name__, run.__doc__ = name, f"Return the results of the task {task!r}: {summary}."
        return partial(self._wrap_method(run), self)

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method as methods of the class are called: awaitable in ``AsyncLLM``."""
        return method

    @abstractmethod
    def _dispatch(self, call: TaskCall[Any], use_tqdm: Any, shape: Shape | None = None) -> T:  # type: ignore[type-var]
        """Return the result of a call: the list of its outputs, converted by ``shape`` if there is one."""
