"""Conversion of a body's inputs to prompts: checks their format and number; their content is checked by the model."""

import re
from typing import Any

from millpond import AsyncLLM
from millpond.types.prompts import TemplateBudget
from millpond_modeling.images import ImageOptions
from millpond_server.apis.common.schemas import Inputs
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

BASE64_URL_PREFIX = "data:image/unknown;base64,"  # the format is detected from the content
MAX_SCHEME_CHARS = 16
MAX_CHARS_PER_TOKEN = 64  # texts with more characters for the token limit are refused without tokenization
SCHEMA_REASON = "schema"
# The start of an image that is a URL, or base64 without a URL.
IMAGE_START = re.compile(r"(?i:https?|file)://[^\s]+|(?i:data):[^\s]*|[A-Za-z0-9+/_\-=\r\n]+")
MAX_IMAGE_START_CHARS = 1000
TEXTS_PER_PAIR = 2
PAIR_FIELD = "text_pair"  # the field of a pair's second text
UNTRUSTED_TEMPLATE = (
    "Chat template is passed with request, but --trust-request-chat-template is not set. "
    "Refused request with untrusted chat template."
)


def prompts_of(request: Inputs, limits: Limits, llm: AsyncLLM, *, pairs: bool = False) -> list[Any]:
    """Return the prompts of a body: its texts, token ids or conversations.

    Args:
        request: The body.
        limits: The limits of the server.
        llm: The model of the request.
        pairs: True if an input may be two texts, as a list or with the fields ``text`` and ``text_pair``.

    Raises:
        ApiError: 400 for an invalid format, or an untrusted chat template; 413 for too many inputs.
    """
    prompts = _read_prompts(request, limits, llm, pairs)
    if request.mm_processor_kwargs:
        prompts = _with_image_options(request.mm_processor_kwargs, prompts)
    template = request.request_template
    if template is None:
        return prompts
    if limits.template_seconds <= 0:
        raise ApiError(400, UNTRUSTED_TEMPLATE, parameter="chat_template", reason="invalid")
    options = {"chat_template": template, "template_budget": TemplateBudget(limits.template_seconds)}
    return [
        {**prompt, **options} if isinstance(prompt, dict) and "messages" in prompt else prompt for prompt in prompts
    ]


def _with_image_options(mm_processor_kwargs: dict[str, Any], prompts: list[Any]) -> list[Any]:
    """Return the prompts with options for images, which must not exceed the size that the model was loaded with."""
    options = {"mm_processor_kwargs": ImageOptions(mm_processor_kwargs, may_grow=False)}
    return [{**prompt, **options} if is_image(prompt) else prompt for prompt in prompts]


def _read_prompts(request: Inputs, limits: Limits, llm: AsyncLLM, pairs: bool) -> list[Any]:
    conversations = request.messages if request.messages is not None else _conversations(request.input)
    if conversations is None:
        prompts = read_inputs(request.input, limits, llm, pairs=pairs)
        if request.add_special_tokens is False:
            if any(map(is_pair, prompts)):
                message = "add_special_tokens=false: pairs need special tokens to separate the two texts"
                raise ApiError(400, message, parameter="add_special_tokens", reason="invalid")
            prompts = [{"prompt": p, "add_special_tokens": False} if isinstance(p, str) else p for p in prompts]
        return prompts
    is_batch = all(isinstance(item, list) for item in conversations)
    batch = conversations if is_batch else [conversations]
    if len(batch) > limits.inputs:
        message = f"messages contain {len(batch)} conversations; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter="messages", reason="inputs")
    check_images(sum(map(_images_in_conversation, batch)), limits, parameter="messages")
    options = {name: value for name, value in request.conversation_options.items() if value is not None}
    return [{"messages": conversation, **options} for conversation in batch]


def check_images(count: int, limits: Limits, *, parameter: str) -> None:
    """Refuse too many images, before any is read.

    Raises:
        ApiError: 413 for more images than the maximum of a request.
    """
    if count > limits.images:
        message = f"{parameter} contains {count} images; a request may contain at most {limits.images}"
        raise ApiError(413, message, parameter=parameter, reason="images")


def _images_in_conversation(conversation: Any) -> int:
    contents = [message.get("content") for message in conversation if isinstance(message, dict)]
    return sum(images_in_content(content) for content in contents)


def images_in_content(content: Any) -> int:
    """Return the number of images in a message's content."""
    parts = content if isinstance(content, list) else []
    return sum(isinstance(part, dict) and str(part.get("type")).startswith("image") for part in parts)


def _conversations(value: Any) -> list[Any] | None:
    """Return the conversations in ``input``; None if it contains texts or token ids."""
    if not isinstance(value, list) or not value:
        return None
    first = value[0]
    inner = first[0] if isinstance(first, list) and first else first
    return value if isinstance(inner, dict) and "role" in inner else None


def read_inputs(
    inputs: Any, limits: Limits, llm: AsyncLLM, *, parameter: str = "input", pairs: bool = False
) -> list[Any]:
    """Return texts and token ids as a list of prompts.

    Args:
        inputs: A text, a list of texts, the token ids of one text, or a list of lists of token ids. Items may be
            objects with a ``text``, an ``image``, or both for a model that accepts both.
        limits: The limits of the server.
        llm: The model of the request.
        parameter: The name of the field.
        pairs: True if an item may be two texts, as a list or with the fields ``text`` and ``text_pair``.

    Raises:
        ApiError: 400 for an invalid format, 413 for too many inputs.
    """
    is_single = isinstance(inputs, str) or (isinstance(inputs, list) and _is_ids(inputs)) or (pairs and is_pair(inputs))
    items = [inputs] if is_single else inputs
    if not isinstance(items, list):
        message = f"{parameter} must be a text, a list of texts, a list of token ids or a list of such lists"
        raise ApiError(400, message, parameter=parameter, reason="invalid")
    if not items:
        raise ApiError(400, "You must pass at least one prompt", parameter=parameter, reason="invalid")
    if len(items) > limits.inputs:
        message = f"{parameter} contains {len(items)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")
    if set(map(type, items)) == {str}:  # the most common case
        _check_size(len(items), sum(map(len, items)), limits, llm, parameter)
        return [*items]
    prompts = [
        _pair(item) if pairs and _may_be_pair(item) else _prompt(item, index, parameter)
        for index, item in enumerate(items)
    ]
    check_images(sum(is_image(prompt) for prompt in prompts), limits, parameter=parameter)
    _check_tokens([prompt for prompt in prompts if not is_image(prompt)], limits, llm, parameter)
    return prompts


def image_prompt(image: str) -> dict[str, Any]:
    """Return the prompt of an image, which is a URL or base64 without a URL, like Jina's clients send it."""
    return {"multi_modal_data": {"image": image_url(image)}}


def image_prompts(images: Any, limits: Limits, *, parameter: str = "input") -> list[Any]:
    """Return the prompts of an image or a list of images: URLs, data: URLs, or base64 without a URL.

    Raises:
        ApiError: 400 for another format, 413 for too many images.
    """
    items = [images] if isinstance(images, str) else images
    if not isinstance(items, list) or not items:
        message = f"{parameter} must be an image, or a non-empty list of images"
        raise ApiError(400, message, parameter=parameter, reason=SCHEMA_REASON)
    for index, item in enumerate(items):
        if not isinstance(item, str) or IMAGE_START.fullmatch(item[:MAX_IMAGE_START_CHARS]) is None:
            message = f"{parameter}[{index}] must be an image: an http(s) URL, a data: URL, or base64"
            raise ApiError(400, message, parameter=parameter, reason=SCHEMA_REASON)
    if len(items) > limits.inputs:
        message = f"{parameter} contains {len(items)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")
    check_images(len(items), limits, parameter=parameter)
    return [image_prompt(item) for item in items]


def image_url(image: str) -> str:
    """Return the URL of an image, which is a URL or base64 without a URL."""
    return image if ":" in image[:MAX_SCHEME_CHARS] else f"{BASE64_URL_PREFIX}{image}"


def is_image(prompt: Any) -> bool:
    """Return True if a prompt contains an image."""
    if not isinstance(prompt, dict):
        return False
    return "multi_modal_data" in prompt or _images_in_conversation(prompt.get("messages") or ()) > 0


def is_pair(prompt: Any) -> bool:
    """Return True if a prompt is a pair of texts."""
    return isinstance(prompt, dict) and PAIR_FIELD in prompt


def _may_be_pair(item: Any) -> bool:
    """Return True if an item has a format of pairs; its content is checked by the model."""
    return is_pair(item) or (isinstance(item, list) and any(isinstance(text, str) for text in item))


def _pair(item: Any) -> Any:
    is_list = isinstance(item, list) and len(item) == TEXTS_PER_PAIR
    return {"text": item[0], PAIR_FIELD: item[1]} if is_list else item


def _is_ids(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], int)


def _prompt(item: Any, index: int, parameter: str) -> Any:
    if isinstance(item, dict):
        text, image = item.get("text"), item.get("image")
        if isinstance(image, str) and (text is None or isinstance(text, str)):
            return image_prompt(image) | ({"prompt": text} if text else {})  # the model checks whether it accepts both
        if isinstance(text, str) and image is None:
            return text
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return {"prompt_token_ids": item}
    message = f"{parameter}[{index}] must be a text or a list of token ids; got {type(item).__name__}"
    raise ApiError(400, message, parameter=parameter, reason="invalid")


def _check_tokens(prompts: list[Any], limits: Limits, llm: AsyncLLM, parameter: str) -> None:
    """Refuse inputs that are certain to exceed the token limit, before tokenization."""
    min_tokens = sum(len(p.get("prompt_token_ids", ".")) if isinstance(p, dict) else 1 for p in prompts)
    texts = [text for p in prompts for text in (p.values() if is_pair(p) else (p,)) if isinstance(text, str)]
    _check_size(min_tokens, sum(map(len, texts)), limits, llm, parameter)


def _check_size(min_tokens: int, num_chars: int, limits: Limits, llm: AsyncLLM, parameter: str) -> None:
    if min_tokens > limits.tokens or num_chars > limits.tokens * MAX_CHARS_PER_TOKEN:
        message = (
            f"{parameter} contains {min_tokens} tokens or {num_chars} characters; a request may contain at most "
            f"{limits.tokens} tokens for {llm.model_config.model}"
        )
        raise ApiError(413, message, parameter=parameter, reason="tokens")
