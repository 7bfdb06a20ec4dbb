"""Data of the task ``plugin`` in the format of vLLM's plugins: validation of its fields, and the type of responses."""

from collections.abc import Collection, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Job
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import is_token_id

TYPE_NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", str: "text"}


def read_fields(data: object, names: Collection[str]) -> dict[str, Any]:
    """Return the fields that are set.

    Raises:
        InvalidInputError: If the data is not an object, or has an unknown field.
    """
    if not isinstance(data, Mapping):
        message = f'data must be an object such as {{"input": "text"}}; got {type(data).__name__}'
        raise InvalidInputError(message, parameter="data")
    unknown = sorted(str(name) for name in data if name not in names)
    if unknown:
        message = f"data: unknown field {unknown[0]!r}. Available: {', '.join(names)}"
        raise InvalidInputError(message, parameter="data")
    return {name: value for name, value in data.items() if value is not None}


def prompts_of(fields: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the prompts of the field ``input``: a text, a list of token ids, or a list of these.

    Raises:
        InvalidInputError: If it has another type.
    """
    value = fields.get("input")
    prompts: Any = [value] if isinstance(value, str) or _are_ids(value) else value
    if (
        not isinstance(prompts, list | tuple)
        or not prompts
        or not all(isinstance(prompt, str) or _are_ids(prompt) for prompt in prompts)
    ):
        message = f"data: input must be a text or a list of texts, or token ids; got {brief(value)}"
        raise InvalidInputError(message, parameter="data")
    return [str(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]


def _are_ids(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(is_token_id, value))


def typed(fields: Mapping[str, Any], name: str, expected: type, default: Any) -> Any:
    """Return the value of a field, or the default if it is not set.

    Raises:
        InvalidInputError: If the value has the wrong type.
    """
    value = fields.get(name, default)
    is_valid = isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    if name in fields and not is_valid:
        message = f"data: {name} must be {TYPE_NAMES[expected]}; got {brief(value)}"
        raise InvalidInputError(message, parameter="data")
    return value


def error_of(jobs: Sequence[Job]) -> InvalidInputError | None:
    """Return the error of the first invalid text, with its index in the data; None if all are valid."""
    for index, job in enumerate(jobs):
        if isinstance(job.error, InvalidInputError):
            error = InvalidInputError(f"data: input {index}: {job.error.message}", parameter="data")
            error.__cause__ = job.error
            return error
    return None


def usage_of(requests: Sequence[PoolingRequest]) -> "Answer":
    """Return the number of tokens, as the ``usage`` of a response."""
    tokens = sum(len(request.input_ids) for request in requests)
    return Answer(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0, prompt_tokens_details=None)


class Answer(dict[str, Any]):
    """An object of a response, whose fields are items and attributes, like those of vLLM's plugins."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            message = f"Unknown field {name!r}. Available: {', '.join(self)}"
            raise AttributeError(message) from None
