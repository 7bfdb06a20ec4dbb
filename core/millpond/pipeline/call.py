"""A call of a front door as the pipeline takes it: prompts, complete parameters, a task, and what is to come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from reprlib import repr as brief
from typing import Any, Generic, TypedDict, TypeVar

from millpond.pipeline.tokenization import Params, truncation_settings, with_settings
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import (
    ArrayOutput,
    ChunksOutput,
    ChunksRequestOutput,
    ClassificationOutput,
    ClassificationRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    EntitiesRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringOutput,
    ScoringRequestOutput,
    SparseEmbeddingOutput,
    SparseEmbeddingRequestOutput,
)
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall, ScoreCall

R = TypeVar("R", bound=PoolingRequestOutput[Any])
ON_ERROR = ("raise", "return")
INPUT_TYPES = {True: "query", False: "document"}


class Options(TypedDict, total=False):
    """What every call may say beside its prompts and parameters.

    Attributes:
        truncate_prompt_tokens: Cut prompts to so many tokens; -1 for the model's maximum.
        tokenization_kwargs: ``truncate_prompt_tokens``, ``truncation_side``, as in vLLM.
        lora_request: Not supported.
        on_overflow: What becomes of a prompt over the model's maximum.
        prompt_name: The name of the checkpoint's prompt that is put before each text.
        prompt: The text that is put before each text.
        adapter: The name of the checkpoint's adapter that computes it, such as "retrieval.query" of jina-embeddings-v3;
            the prompt of that name goes with it.
        task: The same, as Jina spells it.
        input_type: "query" or "document", for models that read the two in different ways, such as ColBERT.
        is_query: The same as True or False.
        on_error: "raise" the first error, or "return" it as ``error`` of the prompt's output.
    """

    truncate_prompt_tokens: int | None
    tokenization_kwargs: Mapping[str, Any] | None
    lora_request: object
    on_overflow: str | None
    prompt_name: str | None
    prompt: str | None
    adapter: str | None
    task: str | None
    input_type: str | None
    is_query: bool | None
    on_error: str


@dataclass(frozen=True, kw_only=True)
class Call(Generic[R]):
    """A call of a front door.

    Attributes:
        prompts: What the caller passed.
        params: Parameters for all, or one for each.
        task: The pooling task; None for the one that the model is configured for.
        output: The type of the output of a prompt.
        content: The type of its ``outputs``.
        on_error: What becomes of errors.
    """

    prompts: object
    params: Params
    task: str | None
    output: type[R]
    content: type[ArrayOutput]
    on_error: str = "raise"

    @property
    def raises(self) -> bool:
        """Whether the first error ends the call."""
        return self.on_error == "raise"

    def retyped(self, output: PoolingRequestOutput[Any]) -> R:
        """An output as the type that the call gives."""
        inner = output.outputs
        if isinstance(inner, ArrayOutput) and not isinstance(inner, self.content):
            inner = self.content.from_base(inner)
        return self.output(**{**vars(output), "outputs": inner})


def embed_call(
    prompts: object, params: Params, options: Options, *, dimensions: int | None = None
) -> Call[EmbeddingRequestOutput]:
    """One vector a prompt, of ``dimensions`` numbers unless the parameters state another size."""
    if dimensions is not None:
        params = with_settings(params, {"dimensions": dimensions})
    return _call(prompts, params, "embed", options, output=EmbeddingRequestOutput, content=EmbeddingOutput)


def sparse_call(
    prompts: object, params: Params, options: Options, extra: Mapping[str, object]
) -> Call[SparseEmbeddingRequestOutput]:
    """The weights of tokens of the vocabulary for each prompt; ``extra`` says which are kept and how they are told."""
    params = _with_extra(params, extra)
    output, content = SparseEmbeddingRequestOutput, SparseEmbeddingOutput
    return _call(prompts, params, "embed_sparse", options, output=output, content=content)


class Chunking(TypedDict, total=False):
    """How ``LLM.embed_chunks`` cuts texts into chunks.

    Attributes:
        spans: The characters of each chunk, ``[(start, stop), ...]``; for several texts, a list of such lists.
        chunk_tokens: Instead: cut a text into chunks of so many of its tokens.
        overlap: So many of them each chunk shares with the one before it.
        method: "late": the model reads the whole text, and the tokens of each chunk are pooled; "naive": it reads each
            chunk alone.
    """

    spans: object
    chunk_tokens: int | None
    overlap: int
    method: str


def chunks_call(texts: object, params: Params, options: Options, chunking: Chunking) -> Call[ChunksRequestOutput]:
    """One vector a chunk of each text."""
    call = ChunksCall(texts, **chunking)
    return _call(call, params, "embed_chunks", options, output=ChunksRequestOutput, content=ChunksOutput)


def classify_call(prompts: object, params: Params, options: Options) -> Call[ClassificationRequestOutput]:
    """The probabilities of the classes of each prompt."""
    return _call(prompts, params, "classify", options, output=ClassificationRequestOutput, content=ClassificationOutput)


def entities_call(
    texts: object, params: Params, options: Options, extra: Mapping[str, object]
) -> Call[EntitiesRequestOutput]:
    """The entities in each text; ``extra`` says how tokens become entities, and which are left out."""
    params = _with_extra(params, extra)
    return _call(texts, params, "entities", options, output=EntitiesRequestOutput, content=PoolingOutput)


def encode_call(prompts: object, params: Params, task: str | None, options: Options) -> Call[PoolingRequestOutput[Any]]:
    """The bare result of a task."""
    return _call(prompts, params, task, options, output=PoolingRequestOutput, content=PoolingOutput)


def represent_call(
    prompts: object, representations: Sequence[Mapping[str, object]], options: Options
) -> Call[RepresentationsRequestOutput]:
    """Several results of each prompt."""
    wanted: object = list(representations) if isinstance(representations, list | tuple) else representations
    params = PoolingParams(extra_kwargs={"representations": wanted})
    return _call(prompts, params, "represent", options, output=RepresentationsRequestOutput, content=PoolingOutput)


def score_call(
    queries: object, documents: object, params: Params, options: Options, extra: Mapping[str, object]
) -> Call[ScoringRequestOutput]:
    """How well texts go together; ``extra`` says how pairs become prompts, what is None is not said."""
    if params is not None and not isinstance(params, PoolingParams):
        message = f"pooling_params must be one PoolingParams for all pairs; got {type(params).__name__}"
        raise InvalidInputError(message, parameter="pooling_params")
    call = ScoreCall(queries, documents)
    asked = _with_extra(params, extra)
    return _call(call, asked, "score", options, output=ScoringRequestOutput, content=ScoringOutput)


def _with_extra(params: Params, extra: Mapping[str, object]) -> Params:
    """The parameters with what a call says beside; what the parameters say themselves counts more."""
    said = {name: value for name, value in extra.items() if value is not None}
    if not said or isinstance(params, str):
        return params
    if isinstance(params, Sequence):
        return [_one_with_extra(own, said) for own in params]
    return _one_with_extra(params, said)


def _one_with_extra(params: PoolingParams | None, said: Mapping[str, object]) -> PoolingParams | None:
    if params is not None and not isinstance(params, PoolingParams):
        return params  # refused later, with all that is wrong in it
    own = {} if params is None else params.extra_kwargs or {}
    return (params or PoolingParams()).model_copy(update={"extra_kwargs": {**said, **own}})


def _input_type(options: Options) -> str | None:
    """What a call says that its prompts are, by either name.

    Raises:
        InvalidInputError: If the two disagree.
    """
    named, is_query = options.get("input_type"), options.get("is_query")
    if is_query is None:
        return named
    if not isinstance(is_query, bool) or named not in (None, INPUT_TYPES[is_query]):
        message = f"is_query={is_query!r} and input_type={named!r}: pass one of them, is_query as True or False"
        raise InvalidInputError(message, parameter="is_query")
    return INPUT_TYPES[is_query]


def _adapter(options: Options) -> str | None:
    """The adapter that a call names, by either name.

    Raises:
        InvalidInputError: If the two disagree.
    """
    named, task = options.get("adapter"), options.get("task")
    if None not in (named, task) and named != task:
        message = f"adapter={named!r} and task={task!r}: pass one of them"
        raise InvalidInputError(message, parameter="adapter")
    return named if task is None else task


def _call(
    prompts: object,
    params: Params,
    task: str | None,
    options: Options,
    *,
    output: type[R],
    content: type[ArrayOutput],
) -> Call[R]:
    unknown = sorted(options.keys() - Options.__annotations__.keys())
    if unknown:
        close = get_close_matches(unknown[0], Options.__annotations__)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(Options.__annotations__)}"
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}: {hint}")
    on_error = options.get("on_error", "raise")
    if on_error not in ON_ERROR:
        message = f"on_error={on_error!r}: expected one of {', '.join(map(repr, ON_ERROR))}"
        raise InvalidInputError(message, parameter="on_error")
    lora = options.get("lora_request")
    if lora is not None and not (isinstance(lora, list | tuple) and all(one is None for one in lora)):
        message = (
            f"Got lora_request {brief(lora)} but LoRA is not enabled! lora_request is not supported: merge the adapter "
            "into the checkpoint's weights"
        )
        raise InvalidInputError(message, parameter="lora_request")
    settings = truncation_settings(options.get("truncate_prompt_tokens"), options.get("tokenization_kwargs"))
    for name in ("on_overflow", "prompt_name", "prompt"):
        if options.get(name) is not None:
            settings[name] = options.get(name)
    adapter = _adapter(options)
    if adapter is not None:
        settings["adapter"] = adapter
    params = _with_extra(params, {"input_type": _input_type(options)})
    return Call(
        prompts=prompts,
        params=with_settings(params, settings),
        task=task,
        output=output,
        content=content,
        on_error=on_error,
    )
