"""Queries and documents as message parts: conversion of the formats of requests, and of documents in responses."""

from collections.abc import Iterable, Sequence
from typing import Any

from millpond_server.apis.common.inputs import check_images, image_url, images_in_content
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits


def score_inputs(value: Any) -> Any:
    """Return a query or document, or a list of them, in the format of ``AsyncLLM.score``.

    Raises:
        ApiError: 400 for an object without a text or an image.
    """
    return [score_input(item) for item in value] if isinstance(value, list) else score_input(value)


def score_input(item: Any, rank_fields: Sequence[str] | None = None) -> Any:
    """Return a query or document as a text, or as an object with a ``content`` of parts.

    Objects contain a ``text``, an ``image`` (a URL, or base64 like Jina's clients send it) or both, or a ``content``.
    With ``rank_fields``, these fields are read, one per line. Values that are not objects are returned unchanged.

    Raises:
        ApiError: 400 for an object without these fields, or with a ``content`` and one of the others.
    """
    if not isinstance(item, dict):
        return item
    if rank_fields:
        return "\n".join(f"{name}: {item[name]}" for name in rank_fields if name in item)
    text, image, content = item.get("text"), item.get("image"), item.get("content")
    if content is not None and (text is not None or image is not None):
        message = (
            "a `content` holds all parts of a query or document: put the text and the image into it as parts, or pass "
            "`text` and `image` without it"
        )
        raise ApiError(400, message, parameter="documents", reason="invalid")
    if isinstance(content, list) and content:
        return {"content": content}
    if isinstance(content, str):
        return content
    if isinstance(image, str) and (text is None or isinstance(text, str)):
        texts = [{"type": "text", "text": text}] if text else []
        return {"content": [{"type": "image_url", "image_url": {"url": image_url(image)}}, *texts]}
    if isinstance(text, str) and image is None:
        return text
    message = "a query or document must be a text, or an object with a `text`, an `image` or a `content` of parts"
    raise ApiError(400, message, parameter="documents", reason="invalid")


def document_response(content: Any) -> dict[str, Any]:
    """Return a document in the format of responses: its text, and its parts if it has a ``content`` of parts."""
    if not isinstance(content, dict):
        return {"text": content, "multi_modal": None}
    parts = content["content"]
    texts = [text for part in parts if isinstance(text := _text_of(part), str)]
    return {"text": "\n".join(texts) if texts else None, "multi_modal": parts}


def check_score_images(inputs: Iterable[Any], limits: Limits) -> None:
    """Refuse queries and documents with too many images, before any is read.

    Raises:
        ApiError: 413 for more images than the maximum of a request.
    """
    items = [item for value in inputs for item in (value if isinstance(value, list) else [value])]
    count = sum(images_in_content(item["content"]) for item in items if isinstance(item, dict))
    check_images(count, limits, parameter="documents")


def _text_of(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
