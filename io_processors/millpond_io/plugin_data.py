"""Data of the task "plugin" that hold texts under ``input``: their fields, checked, and how many tokens were read."""

from collections.abc import Collection, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

from millpond.engine.request import PoolingRequest
from millpond.errors import InvalidInputError

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


def texts_of(fields: Mapping[str, Any]) -> list[str]:
    """The texts under ``input``: one, or a list.

    Raises:
        InvalidInputError: If there is none, or something else.
    """
    given = fields.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or len(texts) == 0 or not all(isinstance(text, str) for text in texts):
        message = f"data: input must be a text or a list of texts; got {brief(given)}"
        raise InvalidInputError(message, parameter="data")
    return [str(text) for text in texts]


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


def usage_of(requests: Sequence[PoolingRequest]) -> dict[str, int]:
    """How many tokens were read."""
    tokens = sum(len(request.input_ids) for request in requests)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
