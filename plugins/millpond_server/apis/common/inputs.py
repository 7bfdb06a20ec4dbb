"""The inputs of a body as prompts: how many there may be, and of which forms; what they hold the model checks."""

import re
from typing import Any

from millpond import AsyncLLM
from millpond.types.image_options import ImageOptions
from millpond.types.prompts import TemplateBudget
from millpond_server.apis.common.schemas import Inputs
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

BASE64 = "data:image/unknown;base64,"  # what it is its first bytes say
LONGEST_SCHEME = 16
CHARACTERS_PER_TOKEN = 64  # more are not tokenised to be counted
SCHEMA = "schema"  # why a body is refused that has not the form of its route
# How an image begins that is given as text: as a URL, or as base64 alone.
IMAGE = re.compile(r"https?://[^\s]+|file://[^\s]+|data:[^\s]*|[A-Za-z0-9+/_\-=\r\n]+")
LONGEST_START = 1000
PAIR, PAIRED = 2, "text_pair"  # how many texts a pair has, and the field of the second
UNTRUSTED = (
    "Chat template is passed with request, but --trust-request-chat-template is not set. "
    "Refused request with untrusted chat template."
)


def prompts_of(request: Inputs, limits: Limits, llm: AsyncLLM, *, pairs: bool = False) -> list[Any]:
    """The prompts of a body: its texts, token ids or conversations.

    Args:
        request: The body.
        limits: How much a request may hold.
        llm: The model that they are for.
        pairs: Whether an input may be two texts, as a list of both or under ``text`` and ``text_pair``.

    Raises:
        ApiError: 400 for another form, or a template of the request's own where none is taken; 413 for too many.
    """
    template, prompts = request.own_template, _with_options(request, _prompts_of(request, limits, llm, pairs))
    if template is None:
        return prompts
    if limits.template_seconds <= 0:
        raise ApiError(400, UNTRUSTED, parameter="chat_template", reason="invalid")
    own = {"chat_template": template, "template_budget": TemplateBudget(limits.template_seconds)}
    return [{**one, **own} if isinstance(one, dict) and "messages" in one else one for one in prompts]


def _with_options(request: Inputs, prompts: list[Any]) -> list[Any]:
    """The prompts, and beside those with images how these are to be read: no larger than the model was loaded for."""
    if not request.mm_processor_kwargs:
        return prompts
    own = {"mm_processor_kwargs": ImageOptions(request.mm_processor_kwargs, may_grow=False)}
    return [{**one, **own} if is_image(one) else one for one in prompts]


def _prompts_of(request: Inputs, limits: Limits, llm: AsyncLLM, pairs: bool) -> list[Any]:
    conversations = request.messages if request.messages is not None else _conversations(request.input)
    if conversations is None:
        prompts = read_inputs(request.input, limits, llm, pairs=pairs)
        if request.add_special_tokens is False:
            if any(map(is_pair, prompts)):
                message = "add_special_tokens=false: the two texts of a pair are told apart by special tokens"
                raise ApiError(400, message, parameter="add_special_tokens", reason="invalid")
            prompts = [{"prompt": p, "add_special_tokens": False} if isinstance(p, str) else p for p in prompts]
        return prompts
    many = all(isinstance(one, list) for one in conversations)
    each = conversations if many else [conversations]
    if len(each) > limits.inputs:
        message = f"messages hold {len(each)} conversations; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter="messages", reason="inputs")
    check_images(sum(map(_images_of, each)), limits, parameter="messages")
    said = {name: value for name, value in request.of_conversations.items() if value is not None}
    return [{"messages": one, **said} for one in each]


def check_images(count: int, limits: Limits, *, parameter: str) -> None:
    """Refuse more images than a request may have, before any is read."""
    if count > limits.images:
        message = f"{parameter} holds {count} images; a request may hold {limits.images}"
        raise ApiError(413, message, parameter=parameter, reason="images")


def _images_of(conversation: Any) -> int:
    """How many parts of a conversation's messages are images."""
    contents = [message.get("content") for message in conversation if isinstance(message, dict)]
    return sum(images_among(content) for content in contents)


def images_among(content: Any) -> int:
    """How many parts of a content are images."""
    parts = content if isinstance(content, list) else []
    return sum(isinstance(part, dict) and str(part.get("type")).startswith("image") for part in parts)


def _conversations(given: Any) -> list[Any] | None:
    """Conversations that stand under ``input``; None if texts or ids do."""
    if not isinstance(given, list) or not given:
        return None
    first = given[0]
    inner = first[0] if isinstance(first, list) and first else first
    return given if isinstance(inner, dict) and "role" in inner else None


def read_inputs(
    given: Any, limits: Limits, llm: AsyncLLM, *, parameter: str = "input", pairs: bool = False
) -> list[Any]:
    """Texts and token ids as a list of prompts.

    Args:
        given: A text, a list of texts, the token ids of one text, or a list of such lists; items may be objects that
            hold a ``text`` or an ``image``, or both for a model that takes both.
        limits: How much a request may hold.
        llm: The model that they are for.
        parameter: The name of the field.
        pairs: Whether an item may be two texts, as a list of both or under ``text`` and ``text_pair``.

    Raises:
        ApiError: 400 for another form, 413 for too many.
    """
    alone = isinstance(given, str) or (isinstance(given, list) and _is_ids(given)) or (pairs and is_pair(given))
    items = [given] if alone else given
    if not isinstance(items, list):
        message = f"{parameter} must be a text, a list of texts, a list of token ids or a list of such lists"
        raise ApiError(400, message, parameter=parameter, reason="invalid")
    if not items:
        raise ApiError(400, "You must pass at least one prompt", parameter=parameter, reason="invalid")
    if len(items) > limits.inputs:
        message = f"{parameter} holds {len(items)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")
    if set(map(type, items)) == {str}:  # the usual case
        _check_size(len(items), sum(map(len, items)), limits, llm, parameter)
        return [*items]
    prompts = [
        _pair(item) if pairs and _holds_pair(item) else _prompt(item, place, parameter)
        for place, item in enumerate(items)
    ]
    check_images(sum(is_image(prompt) for prompt in prompts), limits, parameter=parameter)
    _check_tokens([prompt for prompt in prompts if not is_image(prompt)], limits, llm, parameter)
    return prompts


def image_prompt(given: str) -> dict[str, Any]:
    """The prompt of an image, by its URL, or as base64 alone, as Jina's clients send it."""
    return {"multi_modal_data": {"image": url_of(given)}}


def images_of(given: Any, limits: Limits, *, parameter: str = "input") -> list[Any]:
    """One image, or a list of images, as prompts: URLs, data: URLs, or base64 alone.

    Raises:
        ApiError: 400 if one is none of these, 413 if there are too many.
    """
    items = [given] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        message = f"{parameter} must be an image, or a list of images, and at least one"
        raise ApiError(400, message, parameter=parameter, reason=SCHEMA)
    for place, item in enumerate(items):
        if not isinstance(item, str) or IMAGE.fullmatch(item[:LONGEST_START]) is None:
            message = f"{parameter}[{place}] must be an image: an http(s) URL, a data: URL, or base64 alone"
            raise ApiError(400, message, parameter=parameter, reason=SCHEMA)
    if len(items) > limits.inputs:
        message = f"{parameter} holds {len(items)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")
    check_images(len(items), limits, parameter=parameter)
    return [image_prompt(item) for item in items]


def url_of(given: str) -> str:
    """The URL of an image that is given by its URL, or as base64 alone."""
    return given if ":" in given[:LONGEST_SCHEME] else f"{BASE64}{given}"


def is_image(prompt: Any) -> bool:
    """Whether a prompt holds an image."""
    return isinstance(prompt, dict) and ("multi_modal_data" in prompt or _images_of(prompt.get("messages") or ()) > 0)


def is_pair(prompt: Any) -> bool:
    """Whether a prompt is two texts that a model reads together."""
    return isinstance(prompt, dict) and PAIRED in prompt


def _holds_pair(item: Any) -> bool:
    """Whether an item has one of the forms of a pair; what it holds the model checks."""
    return is_pair(item) or (isinstance(item, list) and any(isinstance(text, str) for text in item))


def _pair(item: Any) -> Any:
    return {"text": item[0], PAIRED: item[1]} if isinstance(item, list) and len(item) == PAIR else item


def _is_ids(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], int)


def _prompt(item: Any, place: int, parameter: str) -> Any:
    if isinstance(item, dict):
        text, image = item.get("text"), item.get("image")
        if isinstance(image, str) and (text is None or isinstance(text, str)):
            return image_prompt(image) | ({"prompt": text} if text else {})  # with both, the model says what it takes
        if isinstance(text, str) and image is None:
            return text
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return {"prompt_token_ids": item}
    message = f"{parameter}[{place}] must be a text or a list of token ids; got {type(item).__name__}"
    raise ApiError(400, message, parameter=parameter, reason="invalid")


def _check_tokens(prompts: list[Any], limits: Limits, llm: AsyncLLM, parameter: str) -> None:
    """Refuse what is sure to be over the limit of tokens, before any of it is tokenised."""
    # A token stands for at least a character's part; what a tokenizer makes of text is counted by the model.
    least = sum(len(p.get("prompt_token_ids", ".")) if isinstance(p, dict) else 1 for p in prompts)
    texts = [text for p in prompts for text in (p.values() if is_pair(p) else (p,)) if isinstance(text, str)]
    _check_size(least, sum(map(len, texts)), limits, llm, parameter)


def _check_size(least: int, characters: int, limits: Limits, llm: AsyncLLM, parameter: str) -> None:
    if least > limits.tokens or characters > limits.tokens * CHARACTERS_PER_TOKEN:
        message = (
            f"{parameter} holds {least} tokens or {characters} characters; a request may hold {limits.tokens} tokens "
            f"for {llm.model_config.model}"
        )
        raise ApiError(413, message, parameter=parameter, reason="tokens")
