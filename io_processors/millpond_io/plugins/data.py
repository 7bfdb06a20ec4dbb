"""Data of the task "plugin" with texts or token ids under ``input``: checks of the fields, and the form of answers."""

from collections.abc import Collection, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Work
from millpond.types.errors import InvalidInputError
from millpond.types.prompts import is_token_id

KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", str: "text"}


def read_fields(data: object, known: Collection[str]) -> dict[str, Any]:
    """The fields that are given, of which ``input`` is one.

    Raises:
        InvalidInputError: If it is no object, has a field that is not known, or no ``input``.
    """
    if not isinstance(data, Mapping):
        message = f'data must be an object such as {{"input": "text"}}; got {type(data).__name__}'
        raise InvalidInputError(message, parameter="data")
    unknown = sorted(str(name) for name in data if name not in known)
    if unknown:
        message = f"data has no field {unknown[0]!r}; there are: {', '.join(known)}"
        raise InvalidInputError(message, parameter="data")
    return {name: value for name, value in data.items() if value is not None}


def prompts_of(fields: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the prompts under ``input``: a text or the token ids of one, or a list of texts, or of lists of ids.

    Raises:
        InvalidInputError: If it is something else.
    """
    given = fields.get("input")
    prompts: Any = [given] if isinstance(given, str) or _are_ids(given) else given
    if (
        not isinstance(prompts, list | tuple)
        or not prompts
        or not all(isinstance(prompt, str) or _are_ids(prompt) for prompt in prompts)
    ):
        message = f"data: input must be a text or a list of texts, or token ids; got {brief(given)}"
        raise InvalidInputError(message, parameter="data")
    return [str(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]


def _are_ids(given: object) -> bool:
    return isinstance(given, list | tuple) and len(given) > 0 and all(map(is_token_id, given))


def typed(fields: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field of a certain type, or what stands for it.

    Raises:
        InvalidInputError: If it is of another.
    """
    value = fields.get(name, default)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if name in fields and not right:
        message = f"data: {name} must be {KINDS[kind]}; got {brief(value)}"
        raise InvalidInputError(message, parameter="data")
    return value


def error_of(works: Sequence[Work]) -> InvalidInputError | None:
    """Return the error of the first text that cannot be served, with its place in the data."""
    for place, work in enumerate(works):
        if isinstance(work.error, InvalidInputError):
            error = InvalidInputError(f"data: input {place}: {work.error.message}", parameter="data")
            error.__cause__ = work.error
            return error
    return None


def usage_of(requests: Sequence[PoolingRequest]) -> "Answer":
    """How many tokens were read."""
    tokens = sum(len(request.input_ids) for request in requests)
    return Answer(prompt_tokens=tokens, total_tokens=tokens, completion_tokens=0, prompt_tokens_details=None)


class Answer(dict[str, Any]):
    """An object of an answer whose fields are read as items or as attributes, as those of vLLM's plugins."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            message = f"the answer has no field {name!r}; it has: {', '.join(self)}"
            raise AttributeError(message) from None
