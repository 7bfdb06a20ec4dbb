"""A call of a front door as the pipeline takes it: prompts, complete parameters, a task, and what is to come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypedDict, TypeVar

from millpond.errors import InvalidInputError
from millpond.inputs import ChunksCall, ScoreCall
from millpond.outputs import (
    ArrayOutput,
    ChunksOutput,
    ChunksRequestOutput,
    ClassificationOutput,
    ClassificationRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringOutput,
    ScoringRequestOutput,
)
from millpond.params import PoolingParams
from millpond.tokenization import Params, truncation_settings, with_settings

R = TypeVar("R", bound=PoolingRequestOutput[Any])
ON_ERROR = ("raise", "return")


class Options(TypedDict, total=False):
    """What every call may say beside its prompts and parameters.

    Attributes:
        truncate_prompt_tokens: Cut prompts to so many tokens; -1 for the model's maximum.
        tokenization_kwargs: ``truncate_prompt_tokens``, ``truncation_side``, as in vLLM.
        lora_request: Not supported.
        on_overflow: What becomes of a prompt over the model's maximum.
        prompt_name: The name of the checkpoint's prompt that is put before each text.
        prompt: The text that is put before each text.
        on_error: "raise" the first error, or "return" it as ``error`` of the prompt's output.
    """

    truncate_prompt_tokens: int | None
    tokenization_kwargs: Mapping[str, Any] | None
    lora_request: object
    on_overflow: str | None
    prompt_name: str | None
    prompt: str | None
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


def embed_call(prompts: object, params: Params, options: Options) -> Call[EmbeddingRequestOutput]:
    """One vector a prompt."""
    return _call(prompts, params, "embed", options, output=EmbeddingRequestOutput, content=EmbeddingOutput)


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
    said = {name: value for name, value in extra.items() if value is not None}
    if said:
        own = {} if params is None else params.extra_kwargs or {}
        params = (params or PoolingParams()).model_copy(update={"extra_kwargs": {**said, **own}})
    call = ScoreCall(queries, documents)
    return _call(call, params, "score", options, output=ScoringRequestOutput, content=ScoringOutput)


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
    if options.get("lora_request") is not None:
        message = "lora_request is not supported: merge the adapter into the checkpoint's weights"
        raise InvalidInputError(message, parameter="lora_request")
    settings = truncation_settings(options.get("truncate_prompt_tokens"), options.get("tokenization_kwargs"))
    for name in ("on_overflow", "prompt_name", "prompt"):
        if options.get(name) is not None:
            settings[name] = options.get(name)
    return Call(
        prompts=prompts,
        params=with_settings(params, settings),
        task=task,
        output=output,
        content=content,
        on_error=on_error,
    )
