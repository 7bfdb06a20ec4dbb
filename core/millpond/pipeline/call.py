"""The options of every call of LLM and AsyncLLM, and their conversion to pooling parameters."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from reprlib import repr as brief
from types import MappingProxyType
from typing import Any, TypedDict

from millpond.pipeline.tokenization import Params, truncation_settings, with_settings
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams

NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
ON_ERROR = ("raise", "return")
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


class EmbedOptions(Options, total=False):
    """Keyword arguments of ``embed``.

    Attributes:
        dimensions: Keep the first N dimensions.
        pooling_params: Parameters for all prompts, or one for each.
    """

    dimensions: int | None
    pooling_params: Params


CALL_OPTIONS = tuple(Options.__annotations__)


def read_options(params: Params, options: Mapping[str, Any]) -> tuple[Params, dict[str, object], bool]:
    """Read the keyword arguments of a call.

    Args:
        params: The pooling parameters of the call; fields that they set take precedence.
        options: The options of every call, and options of the task; the latter count as not passed if they are None.

    Returns:
        The pooling parameters, the options of the task, and True if the first error ends the call.

    Raises:
        InvalidInputError: If an option of every call is invalid.
    """
    on_error = options.get("on_error", "raise")
    if on_error not in ON_ERROR:
        message = f"on_error={on_error!r}: expected one of {', '.join(map(repr, ON_ERROR))}"
        raise InvalidInputError(message, parameter="on_error")
    _check_lora(options.get("lora_request"))
    task_options = {it: value for it, value in options.items() if it not in CALL_OPTIONS and value is not None}
    input_type = _input_type(options)
    if input_type is not None:
        task_options["input_type"] = input_type
    return with_settings(params, _settings(options)), task_options, on_error == "raise"


def single_params(params: object) -> PoolingParams | None:
    """Return the parameters of a call for pairs.

    Raises:
        InvalidInputError: If they are not one object for all pairs.
    """
    if params is None or isinstance(params, PoolingParams):
        return params
    message = f"pooling_params must be one PoolingParams for all pairs; got {type(params).__name__}"
    raise InvalidInputError(message, parameter="pooling_params")


def unknown_keyword(name: str, known: Iterable[str]) -> TypeError:
    """Return the error for an unknown keyword argument of a call."""
    names = list(known)
    close = get_close_matches(name, names)
    hint = f"did you mean {close[0]!r}?" if close else f"available: {', '.join(names)}"
    return TypeError(f"got an unexpected keyword argument {name!r}: {hint}")


def requested(representations: object) -> dict[str, object]:
    """Return the option of a call of ``represent``."""
    copied = list(representations) if isinstance(representations, list | tuple) else representations
    return {"representations": copied if copied is not None else ()}


def _input_type(options: Mapping[str, Any]) -> str | None:
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


def _adapter(options: Mapping[str, Any]) -> str | None:
    """Return the adapter of a call, from ``adapter`` or ``task``.

    Raises:
        InvalidInputError: If the two disagree.
    """
    named, task = options.get("adapter"), options.get("task")
    if None not in (named, task) and named != task:
        message = f"adapter={named!r} and task={task!r}: pass one of them"
        raise InvalidInputError(message, parameter="adapter")
    return named if task is None else task


def _check_lora(lora: object) -> None:
    if lora is None or (isinstance(lora, list | tuple) and all(one is None for one in lora)):
        return
    message = (
        f"Got lora_request {brief(lora)} but LoRA is not enabled! lora_request is not supported: merge the adapter "
        "into the checkpoint's weights"
    )
    raise InvalidInputError(message, parameter="lora_request")


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of pooling parameters that a call passes as keywords."""
    settings = truncation_settings(options.get("truncate_prompt_tokens"), options.get("tokenization_kwargs"))
    for name in ("on_overflow", "prompt_name", "prompt"):
        if options.get(name) is not None:
            settings[name] = options.get(name)
    adapter = _adapter(options)
    if adapter is not None:
        settings["adapter"] = adapter
    return settings
