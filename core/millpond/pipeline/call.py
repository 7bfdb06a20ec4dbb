"""TaskCall: prompts, parameters, options and task of a call of LLM or AsyncLLM, for the pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from reprlib import repr as brief
from types import MappingProxyType
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
    PoolingOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringOutput,
    ScoringRequestOutput,
    SparseEmbeddingOutput,
    SparseEmbeddingRequestOutput,
    TokenEmbeddingsOutput,
)
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall, ScoreCall

R = TypeVar("R", bound=PoolingRequestOutput[Any])
NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
ON_ERROR = ("raise", "return")
EMBED, TOKEN_EMBED = "embed", "token_embed"
INPUT_TYPES = {True: "query", False: "document"}


class Options(TypedDict, total=False):
    """Keyword arguments of every call, in addition to prompts and parameters.

    Attributes:
        truncate_prompt_tokens: Truncate prompts to N tokens; -1 for the model's maximum.
        tokenization_kwargs: ``truncate_prompt_tokens`` and ``truncation_side``, as in vLLM.
        lora_request: Not supported.
        on_overflow: How a prompt over the model's maximum is handled: "error", "truncate" or "chunk".
        prompt_name: The name of the checkpoint's prompt that precedes each text.
        prompt: The prompt that precedes each text.
        adapter: The name of the checkpoint's adapter to compute with, such as "retrieval.query" of jina-embeddings-v3;
            it also selects the prompt of that name.
        task: Jina's name for ``adapter``.
        input_type: "query" or "document", for models that read the two in different ways, such as ColBERT, or that have
            prompts with these names.
        is_query: ``input_type`` as True or False.
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


CALL_OPTIONS = tuple(Options.__annotations__)


@dataclass(frozen=True, kw_only=True)
class TaskCall(Generic[R]):
    """A call of a task: the arguments of a method of ``LLM`` or ``AsyncLLM``.

    Attributes:
        prompts: The prompts as passed by the caller.
        params: Parameters for all, or one for each.
        task: The pooling task; None for the task that the model is configured for.
        options: Options of the task by name; they are validated when the task is known.
        output: The output type of a prompt.
        content: The type of its ``outputs`` if they are arrays; None for the type that the task's IO processor returns.
        raises: True if the first error ends the call; otherwise errors are returned in the outputs.
    """

    prompts: object
    params: Params
    task: str | None
    options: Mapping[str, object]
    output: type[R]
    content: type[ArrayOutput] | None = None
    raises: bool = True

    def retyped(self, output: PoolingRequestOutput[Any]) -> R:
        """Return an output converted to the output type of the call."""
        inner = output.outputs
        if self.content is not None and isinstance(inner, ArrayOutput) and not isinstance(inner, self.content):
            inner = self.content.from_base(inner)
        elif type(output) is self.output:
            return output
        return self.output(**{**vars(output), "outputs": inner})


def embed_call(
    prompts: object, params: Params, options: Options, *, task: str = EMBED, dimensions: int | None = None
) -> TaskCall[EmbeddingRequestOutput]:
    """Return a call for the vector of each prompt.

    Args:
        prompts: The prompts.
        params: The parameters.
        options: The options of every call.
        task: "embed", or "token_embed" for one vector per token.
        dimensions: The number of dimensions, unless the parameters specify one.
    """
    if dimensions is not None:
        params = with_settings(params, {"dimensions": dimensions})
    content = TokenEmbeddingsOutput if task == TOKEN_EMBED else EmbeddingOutput
    keywords = ("dimensions", "output")
    return _call(prompts, params, task, options, keywords=keywords, output=EmbeddingRequestOutput, content=content)


def sparse_call(
    prompts: object, params: Params, options: Options, extra: Mapping[str, object]
) -> TaskCall[SparseEmbeddingRequestOutput]:
    """Return a call for the weights of vocabulary tokens for each prompt."""
    output, content = SparseEmbeddingRequestOutput, SparseEmbeddingOutput
    return _call(prompts, params, "embed_sparse", options, extra, output=output, content=content)


def chunks_call(call: ChunksCall, params: Params, options: Options) -> TaskCall[ChunksRequestOutput]:
    """Return a call for one vector per chunk of each text."""
    keywords = ("spans", "chunk_tokens", "overlap", "method")
    return _call(
        call, params, "embed_chunks", options, keywords=keywords, output=ChunksRequestOutput, content=ChunksOutput
    )


def classify_call(prompts: object, params: Params, options: Options) -> TaskCall[ClassificationRequestOutput]:
    """Return a call for the class probabilities of each prompt."""
    return _call(prompts, params, "classify", options, output=ClassificationRequestOutput, content=ClassificationOutput)


def encode_call(
    prompts: object, params: Params, task: str | None, options: Mapping[str, Any]
) -> TaskCall[PoolingRequestOutput[Any]]:
    """Return a call for the plain result of a task; keywords that are not common to all calls are task options."""
    task_options = {name: value for name, value in options.items() if name not in CALL_OPTIONS}
    common: Any = {name: value for name, value in options.items() if name in CALL_OPTIONS} if task_options else options
    return _call(prompts, params, task, common, task_options, output=PoolingRequestOutput, content=PoolingOutput)


def method_call(prompts: object, params: Params, task: str, options: Mapping[str, Any], output: type[R]) -> TaskCall[R]:
    """Return a call for the result of a task whose record names a method."""
    task_options = {name: value for name, value in options.items() if name not in CALL_OPTIONS}
    common: Any = {name: value for name, value in options.items() if name in CALL_OPTIONS}
    return _call(prompts, params, task, common, task_options, output=output)


def represent_call(
    prompts: object, representations: Sequence[Mapping[str, object]], options: Options
) -> TaskCall[RepresentationsRequestOutput]:
    """Return a call for several results of each prompt."""
    copied: object = list(representations) if isinstance(representations, list | tuple) else representations
    extra = {"representations": copied if copied is not None else ()}
    return _call(prompts, None, "represent", options, extra, output=RepresentationsRequestOutput)


def score_call(
    queries: object, documents: object, params: Params, options: Options, extra: Mapping[str, object]
) -> TaskCall[ScoringRequestOutput]:
    """Return a call for the scores of pairs."""
    if params is not None and not isinstance(params, PoolingParams):
        message = f"pooling_params must be one PoolingParams for all pairs; got {type(params).__name__}"
        raise InvalidInputError(message, parameter="pooling_params")
    call = ScoreCall(queries, documents)
    return _call(call, params, "score", options, extra, output=ScoringRequestOutput, content=ScoringOutput)


def _input_type(options: Options) -> str | None:
    """Return the input type of a call, from ``input_type`` or ``is_query``.

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
    """Return the adapter of a call, from ``adapter`` or ``task``.

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
    extra: Mapping[str, object] = NO_OPTIONS,
    *,
    keywords: Sequence[str] = (),
    output: type[R],
    content: type[ArrayOutput] | None = None,
) -> TaskCall[R]:
    """Return a call.

    Args:
        prompts: The prompts.
        params: The parameters.
        task: The task; None for the task that the model is configured for.
        options: The options of every call.
        extra: The task's options by name; None for those that are not set.
        keywords: Other keyword arguments of the method, for the error of an unknown one.
        output: The output type of a prompt.
        content: The type of its ``outputs``.
    """
    on_error = "raise"
    task_options = {name: value for name, value in extra.items() if value is not None} if extra else extra
    if options:
        unknown = next((name for name in options if name not in CALL_OPTIONS), None)
        if unknown is not None:
            raise unknown_keyword(unknown, (*CALL_OPTIONS, "pooling_params", *keywords, *extra))
        on_error = options.get("on_error", "raise")
        if on_error not in ON_ERROR:
            message = f"on_error={on_error!r}: expected one of {', '.join(map(repr, ON_ERROR))}"
            raise InvalidInputError(message, parameter="on_error")
        _check_lora(options.get("lora_request"))
        params = with_settings(params, _settings(options))
        input_type = _input_type(options)
        if input_type is not None:
            task_options = {**task_options, "input_type": input_type}
    return TaskCall(
        prompts=prompts,
        params=params,
        task=task,
        options=task_options,
        output=output,
        content=content,
        raises=on_error == "raise",
    )


def unknown_keyword(name: str, known: Iterable[str]) -> TypeError:
    """Return the error for an unknown keyword argument of a call."""
    names = list(known)
    close = get_close_matches(name, names)
    hint = f"did you mean {close[0]!r}?" if close else f"available: {', '.join(names)}"
    return TypeError(f"got an unexpected keyword argument {name!r}: {hint}")


def _check_lora(lora: object) -> None:
    if lora is None or (isinstance(lora, list | tuple) and all(one is None for one in lora)):
        return
    message = (
        f"Got lora_request {brief(lora)} but LoRA is not enabled! lora_request is not supported: merge the adapter "
        "into the checkpoint's weights"
    )
    raise InvalidInputError(message, parameter="lora_request")


def _settings(options: Options) -> dict[str, Any]:
    """Return the fields of pooling parameters that a call passes as keywords."""
    settings = truncation_settings(options.get("truncate_prompt_tokens"), options.get("tokenization_kwargs"))
    for name in ("on_overflow", "prompt_name", "prompt"):
        if options.get(name) is not None:
            settings[name] = options.get(name)
    adapter = _adapter(options)
    if adapter is not None:
        settings["adapter"] = adapter
    return settings
