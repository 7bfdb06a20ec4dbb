"""The forms that the queries and the documents of a call may have, and their reduction to texts."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from millpond.errors import InvalidInputError

FORMS = 'a str, {"text": str}, {"content": str or [{"type": "text", "text": str}, ...]}, or a list of these'
NO_QUERY = "At least one text element must be given"
NO_DOCUMENT = "At least one text_pair element must be given"
CARDINALITY = "Input lengths must be either 1:1, 1:N or N:N"


def read_sides(queries: object, documents: object, architecture: str) -> tuple[list[str], list[str]]:
    """The texts of both sides: as many of one as of the other, or one query for all documents.

    Args:
        queries: One text, or a list.
        documents: One text, or a list.
        architecture: The name of the model's architecture, for the error of what it cannot read.

    Raises:
        InvalidInputError: If one has another form, or their numbers do not fit.
    """
    left = _texts(queries, "data_1", architecture, empty=NO_QUERY)
    right = _texts(documents, "data_2", architecture, empty=NO_DOCUMENT)
    if len(left) not in (1, len(right)):
        message = f"{CARDINALITY}; got {len(left)}:{len(right)}"
        raise InvalidInputError(message, parameter="data_1")
    return left, right


def _texts(side: object, parameter: str, architecture: str, *, empty: str) -> list[str]:
    if isinstance(side, str | Mapping):
        return [_text(side, parameter, architecture)]
    if not _is_list(side):
        message = f"expected {FORMS}; got {type(side).__name__}"
        raise InvalidInputError(message, parameter=parameter)
    texts = [_text(item, parameter, architecture) for item in side]
    if not texts:
        raise InvalidInputError(empty, parameter=parameter)
    return texts


def _text(item: object, parameter: str, architecture: str) -> str:
    if isinstance(item, str):
        return str(item)
    if isinstance(item, Mapping):
        if isinstance(item.get("text"), str):
            return str(item["text"])
        content = item.get("content")
        if isinstance(content, str):
            return str(content)
        if _is_list(content) and not isinstance(content, Mapping):
            return _joined(list(content), parameter, architecture)
        message = f"expected {FORMS}; got a dict with the keys {sorted(map(str, item))}"
        raise InvalidInputError(message, parameter=parameter)
    message = f"expected {FORMS}; got {type(item).__name__} in the list"
    raise InvalidInputError(message, parameter=parameter)


def _joined(parts: list[object], parameter: str, architecture: str) -> str:
    """The text of the parts of a content, a line each."""
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
        if not isinstance(text, str):
            message = f"MultiModalParam is not supported for {architecture}: its queries and documents are text"
            raise InvalidInputError(message, parameter=parameter)
        texts.append(str(text))
    if not texts:
        message = f"'content' is an empty list; expected {FORMS}"
        raise InvalidInputError(message, parameter=parameter)
    return "\n".join(texts)


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Whether the value holds others; an array of no dimension holds none, though it has __iter__."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes | bytearray)
        and getattr(value, "ndim", 1) != 0
    )
