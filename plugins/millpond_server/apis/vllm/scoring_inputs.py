"""The queries and documents of a body: what a model reads of each, and what an answer tells of a document."""

from collections.abc import Iterable, Sequence
from typing import Any

from millpond_server.apis.common.inputs import check_images, images_among, url_of
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits


def side_of(side: Any, rank_fields: Sequence[str] | None = None) -> Any:
    """A query or document, or a list of these, as ``AsyncLLM.score`` takes them.

    Raises:
        ApiError: If one is an object that holds neither text nor image.
    """
    return [content_of(item, rank_fields) for item in side] if isinstance(side, list) else content_of(side, rank_fields)


def content_of(item: Any, rank_fields: Sequence[str] | None = None) -> Any:
    """A text, or an object with a ``content`` of parts that are not texts alone.

    Objects hold a ``text``, an ``image`` by its URL or as base64, as Jina's clients send it, or a ``content``; of those
    with ``rank_fields`` these are read, a line each. What is no object stays as it is.

    Raises:
        ApiError: If it is an object that holds none of these.
    """
    if not isinstance(item, dict):
        return item
    if rank_fields:
        return "\n".join(f"{name}: {item[name]}" for name in rank_fields if name in item)
    if isinstance(item.get("text"), str):
        return item["text"]
    content, image = item.get("content"), item.get("image")
    if isinstance(content, list) and content:
        return {"content": content}
    if isinstance(content, str):
        return content
    if isinstance(image, str):
        return {"content": [{"type": "image_url", "image_url": {"url": url_of(image)}}]}
    message = "a query or document must be a text, or an object with a `text`, an `image` or a `content` of parts"
    raise ApiError(400, message, parameter="documents", reason="invalid")


def told(content: Any) -> dict[str, Any]:
    """A document as an answer tells of it: its text, and its parts where it came as such."""
    if not isinstance(content, dict):
        return {"text": content, "multi_modal": None}
    parts = content["content"]
    texts = [text for part in parts if isinstance(text := _text_of(part), str)]
    return {"text": "\n".join(texts) if texts else None, "multi_modal": parts}


def check_images_of(sides: Iterable[Any], limits: Limits) -> None:
    """Refuse sides that hold more images than a request may have, before any is read.

    Raises:
        ApiError: 413.
    """
    each = [item for side in sides for item in (side if isinstance(side, list) else [side])]
    count = sum(images_among(item["content"]) for item in each if isinstance(item, dict))
    check_images(count, limits, parameter="documents")


def _text_of(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
