"""TaskMethods: the methods of LLM and AsyncLLM that ask a model, declared once for both.

The class is generic over the results, because a method of ``LLM`` returns a list where that of ``AsyncLLM`` returns an
awaitable of the list: each class names its results once, and type checkers infer them exactly. ``Never`` is the type of
an argument that only the other class takes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from millpond.compat.texts_argument import accepts_texts
from millpond.pipeline.bound_task import output_of
from millpond.pipeline.call import (
    Chunking,
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
from millpond.pipeline.pipeline import Pipeline
from millpond.pipeline.tokenization import Params
from millpond.types.arrays import Form, check_form, stacked
from millpond.types.config import ModelConfig
from millpond.types.outputs import PoolingRequestOutput
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel

Progress = bool | Callable[..., Any]
Shape = Callable[[list[Any]], Any]
"""Turns the outputs of a call into its result."""
SHOWN: Any = True  # the default of use_tqdm

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
        priority: Of ``AsyncLLM``: lower numbers are served first.
    """

    priority: Priority


class TaskMethods(
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
    ]
):
    """A loaded model and the methods that ask it; each builds a ``TaskCall``, and returns the result of ``_answer``."""

    _loaded: "LoadedModel"
    pipeline: Pipeline

    @property
    def model_config(self) -> ModelConfig:
        """The facts about the model: names, limits, tasks, sizes."""
        return self._loaded.config

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The pooling tasks of the model."""
        return self.pipeline.tasks

    @overload
    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Literal["objects"] = "objects",
        use_tqdm: Show = SHOWN,
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
        use_tqdm: Show = SHOWN,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Array: ...

    def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Form = "objects",
        use_tqdm: Show = SHOWN,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Embeddings | Array:
        """Return one vector for each prompt, in the order of the prompts.

        Args:
            prompts: A text, a list of token ids, ``{"prompt": ...}``, ``{"prompt_token_ids": ...}``; or a list of
                these.
            dimensions: Keep the first N dimensions, for models trained for it (Matryoshka).
            output: "objects" for a list of outputs, "array" for one float32 array, [num_prompts, dim]; with
                ``on_error="return"`` the row of a prompt that failed is NaN.
            use_tqdm: Of ``LLM``: True shows the progress of long work on stderr; or a function that makes the bar.
            pooling_params: Parameters for all prompts, or one for each.
            **options: The options of every call; see ``Options``:
                ``truncate_prompt_tokens`` cuts prompts to N tokens, -1 to the model's maximum (by default a prompt that
                is too long is an error); ``tokenization_kwargs`` states the same as in vLLM; ``on_overflow`` is
                "error", "truncate" or "chunk"; ``prompt_name`` or ``prompt`` is put before each text; ``input_type``
                "query" or "document", or ``is_query``, selects the side for models that read the two in different ways;
                ``on_error`` is "raise" for the first error, or "return" for it as ``error`` of the prompt's output;
                ``lora_request`` is not supported; ``priority``, of ``AsyncLLM``: lower numbers are served first.

        Raises:
            InvalidInputError: If a prompt or a parameter is invalid; the message names the position of the prompt.
            EngineError: If the model fails on a prompt.
            EngineOverloadedError: Of ``AsyncLLM``: if too many tokens are waiting.
        """
        check_form(output)
        call = embed_call(prompts, pooling_params, options, dimensions=dimensions)
        if output == "objects":
            return self._answer(call, use_tqdm)
        size = dimensions or self.model_config.embedding_size or 0
        return self._answer(call, use_tqdm, partial(stacked, size=size))

    def embed_sparse(
        self,
        prompts: object,
        *,
        return_tokens: bool = False,
        max_active_dims: int | None = None,
        use_tqdm: Show = SHOWN,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> SparseEmbeddings:
        """Return weights of the vocabulary's tokens for each prompt: ``output.outputs.indices`` and ``.values``.

        For models with sparse embeddings, such as SPLADE, and for those with a sparse head beside their vectors, such
        as bge-m3.

        Args:
            prompts: As for ``embed``.
            return_tokens: Return the tokens as text too, as ``output.outputs.tokens``.
            max_active_dims: Keep the N largest weights; None keeps all that are not 0.
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
        use_tqdm: Show = SHOWN,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Chunks:
        """Return one vector per chunk of each text.

        ``for chunk in output.outputs: chunk.embedding, chunk.start, chunk.text``. With late chunking (Günther et al.
        2024, arXiv 2409.04701) the model reads the whole text, and the tokens of each chunk are pooled as ``embed``
        pools those of a text. Special tokens and a prompt before the text are pooled with the first chunk, those after
        it with the last. A text over the model's maximum is read in windows that overlap by half, each chunk in the
        window that gives it the most context.

        Args:
            texts: A text, or a list.
            spans: The characters of each chunk, ``[(start, stop), ...]``; for several texts, a list of such lists. A
                token belongs to a chunk if it overlaps it.
            chunk_tokens: Instead: cut texts into chunks of N of their tokens.
            overlap: The number of tokens that each chunk shares with the one before it.
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
        use_tqdm: Show = SHOWN,
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
        return self._answer(classify_call(prompts, pooling_params, options), use_tqdm)

    def reward(
        self,
        prompts: object,
        /,
        *,
        use_tqdm: Show = SHOWN,
        pooling_params: Params = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Results:
        """Return the rewards of each prompt's tokens or steps: ``output.outputs.data`` is [rows, num_labels].

        The same as ``encode(..., pooling_task="token_classify")``.

        Args:
            prompts: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_params: As for ``embed``.
            **options: As for ``embed``.
        """
        return self._answer(encode_call(prompts, pooling_params, "token_classify", options), use_tqdm)

    def score(
        self,
        data_1: object,
        data_2: object,
        /,
        *,
        use_tqdm: Show = SHOWN,
        pooling_params: PoolingParams | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, object] | None = None,
        instruction: str | None = None,
        max_tokens_per_query: int | None = None,
        max_tokens_per_doc: int | None = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Scores:
        """Return the relevance of documents to queries: ``output.outputs.score``.

        A cross-encoder reads each pair. With an embedding model the score is the cosine of the two vectors, or the
        similarity that its checkpoint names. With a late-interaction model it is the sum of the best matches of the
        query's tokens (MaxSim).

        Args:
            data_1: A query, or a list: one for all documents, or one for each. A text; for models that read images also
                ``{"image": ...}``, or ``{"content": [...]}`` with parts as in messages.
            data_2: A document, or a list, likewise.
            use_tqdm: As for ``embed``.
            pooling_params: Parameters for all pairs.
            chat_template: The template of a cross-encoder's pair, as Jinja text or the path of a file.
            chat_template_kwargs: Further variables of the template.
            instruction: The instruction, for rerankers that take one.
            max_tokens_per_query: Cut queries to N tokens; 0 for no limit.
            max_tokens_per_doc: Cut documents to N tokens; 0 for no limit.
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
        use_tqdm: Show = SHOWN,
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
        return self._answer(represent_call(prompts, representations, options), use_tqdm)

    def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        use_tqdm: Show = SHOWN,
        pooling_task: str | None = None,
        **options: Unpack[CallOptions[Priority]],
    ) -> Results:
        """Return the bare result of any pooling task: ``output.outputs.data`` is a tensor.

        Args:
            prompts: As for ``embed``; for ``pooling_task="plugin"``, ``{"data": ...}``.
            pooling_params: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_task: "embed", "token_embed", "classify", "token_classify", "plugin", or another task of the model.
            **options: As for ``embed``.
        """
        return self._answer(encode_call(prompts, pooling_params, pooling_task, options), use_tqdm)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the method of a task of a plugin, which its record names.

        The method takes prompts, the options of the task and those of every call, as ``encode`` does.

        Raises:
            AttributeError: If no task has a method of that name.
        """
        pipeline: Pipeline | None = vars(self).get("pipeline")
        entry = None if pipeline is None else pipeline.task_with_method(name)
        if entry is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        method: Callable[..., Any] = self._method(name, entry.spec.name, output_of(entry), entry.spec.summary)
        return method

    def _method(self, name: str, task: str, output: type[PoolingRequestOutput[Any]], summary: str) -> Any:
        """Return the method of a task."""

        def ask(
            self: Any,
            prompts: object,
            *,
            use_tqdm: Any = SHOWN,
            pooling_params: Params = None,
            **options: Any,
        ) -> Any:
            return self._answer(method_call(prompts, pooling_params, task, options, output), use_tqdm)

        ask.__name__, ask.__doc__ = name, f"Return the results of the task {task!r}: {summary}."
        return partial(self._asking(accepts_texts(ask)), self)

    def _asking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method as the class calls it."""
        return method

    def _answer(self, call: TaskCall[Any], use_tqdm: Any, shape: Shape | None = None) -> T:  # type: ignore[type-var]
        """Return the result of a call, as ``shape`` makes it of the list of outputs; the list itself without one."""
        raise NotImplementedError
