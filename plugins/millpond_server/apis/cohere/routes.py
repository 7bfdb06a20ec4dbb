"""Handlers of Cohere's ``POST /v2/embed``, ``POST /v1/embed`` and ``POST /v2/rerank``."""

from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingParams
from millpond_server.apis.cohere.schemas import CohereEmbedRequest
from millpond_server.apis.common.input_type import check_input_type, input_type_options
from millpond_server.apis.common.inputs import (
    check_images,
    image_prompt,
    image_url,
    images_in_content,
    is_image,
    read_inputs,
)
from millpond_server.apis.common.vector_types import convert_vectors
from millpond_server.apis.openai.routes import mixed_modality_kwargs
from millpond_server.apis.vllm import routes as scoring
from millpond_server.apis.vllm.schemas import RerankRequest
from millpond_server.http.array_encoding import Array
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError


async def embed(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return vectors by their types, like version 2 of Cohere's API."""
    prompts = _prompts(request, llm)
    arrays, num_tokens = await _embed(prompts, request, llm, call)
    return _response(request, call, prompts, num_tokens, convert_vectors(arrays, request.embedding_types or ["float"]))


async def embed_v1(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return vectors by their types, or a list of vectors without types, like version 1 of Cohere's API."""
    prompts = _prompts(request, llm)
    arrays, num_tokens = await _embed(prompts, request, llm, call)
    if request.embedding_types:
        return _response(request, call, prompts, num_tokens, convert_vectors(arrays, request.embedding_types))
    return _response(request, call, prompts, num_tokens, arrays)


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the documents, most relevant first. Long documents are truncated to at most the model's maximum."""
    changes: dict[str, Any] = {}
    if request.max_tokens_per_doc >= llm.model_config.max_model_len:
        changes["max_tokens_per_doc"] = 0
    if request.truncate_prompt_tokens is None:
        changes["truncate_prompt_tokens"] = -1
    return await scoring.rerank(request.model_copy(update=changes), llm, call)


def _response(
    request: CohereEmbedRequest, call: Call, prompts: list[Any], num_tokens: list[int], embeddings: Any
) -> dict[str, Any]:
    image_tokens = [count for count, prompt in zip(num_tokens, prompts, strict=True) if is_image(prompt)]
    response_type = "embeddings_by_type" if isinstance(embeddings, dict) else "embeddings_floats"
    return {
        "id": call.id("embd"),
        "embeddings": embeddings,
        "texts": request.texts or [],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {
                "input_tokens": sum(num_tokens) - sum(image_tokens),
                "image_tokens": sum(image_tokens),
                "images": len(image_tokens),
            },
            "tokens": {"input_tokens": sum(num_tokens)},
        },
        "response_type": response_type,
    }


def _prompts(request: CohereEmbedRequest, llm: AsyncLLM) -> list[Any]:
    """Return the texts, images or contents of a body as prompts."""
    reads_images = "image" in llm.model_config.multimodal.modalities
    if request.images and not reads_images:
        raise ApiError(400, "the request has images, but this model reads text only", parameter="images")
    if is_vision_language_model(llm):
        contents = [*(request.texts or ()), *([image_part(image_url(image))] for image in request.images or ())]
        contents += [_parts(item, index, reads_images=True) for index, item in enumerate(request.inputs or ())]
        return [{"messages": [{"role": "user", "content": content}]} for content in contents]
    if request.texts:
        return list(request.texts)
    if request.images:
        return [image_prompt(image) for image in request.images]
    return [_prompt(_parts(item, index, reads_images=reads_images)) for index, item in enumerate(request.inputs or ())]


def is_vision_language_model(llm: AsyncLLM) -> bool:
    """Return True if the model reads texts and images in one sequence; it is trained on conversations then."""
    return llm.model_config.multimodal.image_reader is not None


def image_part(url: str) -> dict[str, Any]:
    """Return an image as a part of a message."""
    return {"type": "image_url", "image_url": {"url": url}}


def _parts(item: dict[str, Any], index: int, *, reads_images: bool) -> list[dict[str, Any]]:
    """Return the content of an item of ``inputs`` as parts of a message.

    Raises:
        ApiError: 400 if it is empty, or contains parts that the model does not read.
    """
    content = item.get("content")
    if not isinstance(content, list) or not content:
        message = f"inputs[{index}] must have a `content`, a list of parts"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    parts: list[dict[str, Any]] = []
    for part in content:
        url, text = _image_of(part) if reads_images else None, _text_of(part)
        if url is None and not isinstance(text, str):
            types = "text, each with a `text`, and image_url" if reads_images else "text, each with a `text`"
            message = f"inputs[{index}]: this model only reads parts of the type {types}"
            raise ApiError(400, message, parameter="inputs", reason="invalid")
        parts.append({"type": "text", "text": text} if url is None else image_part(url))
    return parts


def _prompt(parts: list[dict[str, Any]]) -> Any:
    """Return parts as one text, or as a prompt with text and images."""
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    images = [part["image_url"]["url"] for part in parts if part["type"] != "text"]
    return {"prompt": text, "multi_modal_data": {"image": images}} if images else text


def _text_of(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None


def _image_of(part: Any) -> str | None:
    """Return the URL of an image part, in the format of OpenAI or Cohere."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    value = part.get("image_url")
    url = value.get("url") if isinstance(value, dict) else value
    return url if isinstance(url, str) else None


def _check_limits(prompts: list[Any], request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> None:
    """Refuse too many texts, contents or images, before any is read.

    Raises:
        ApiError: 413 for more than the maximum of a request.
    """
    limits = call.settings.limits
    if len(prompts) > limits.inputs:
        message = f"the request contains {len(prompts)} inputs; their number is limited to {limits.inputs}"
        raise ApiError(413, message, parameter="inputs", reason="inputs")
    contents = [item.get("content") for item in request.inputs or ()]
    texts = [*(request.texts or ()), *("\n".join(filter(None, map(_text_of, parts or ()))) for parts in contents)]
    if texts:
        read_inputs(texts, limits, llm, parameter="texts")
    num_images = len(request.images or ()) + sum(map(images_in_content, contents))
    check_images(num_images, limits, parameter="images" if request.images else "inputs")


async def _embed(
    prompts: list[Any], request: CohereEmbedRequest, llm: AsyncLLM, call: Call
) -> tuple[list[Array], list[int]]:
    """Return the vector and the number of tokens of each prompt."""
    options: dict[str, Any] = {}
    if request.truncate != "NONE":
        max_length = llm.model_config.max_model_len
        options["truncate_prompt_tokens"] = -1 if request.max_tokens is None else min(request.max_tokens, max_length)
        options["tokenization_kwargs"] = {"truncation_side": "left" if request.truncate == "START" else "right"}
    check_input_type(request.input_type, llm)
    options |= input_type_options(request.input_type, llm)
    _check_limits(prompts, request, llm, call)
    if is_vision_language_model(llm) and "prompt_name" in options:
        prefix = llm.model_config.prompting.prompts[options.pop("prompt_name")]
        prompts = [{**prompt, "prefix": prefix} for prompt in prompts]
        options["prompt"] = ""
    mixed = request.mixed or ("mean" if request.inputs else None)
    outputs = await llm.embed(
        prompts,
        pooling_params=PoolingParams(
            task="embed", dimensions=request.output_dimension, extra_kwargs=mixed_modality_kwargs(mixed)
        ),
        priority=request.priority + call.priority,
        **options,
    )
    num_tokens = [output.num_prompt_tokens for output in outputs]
    text_tokens = [count for count, prompt in zip(num_tokens, prompts, strict=True) if not is_image(prompt)]
    max_text_tokens = max(text_tokens, default=0)
    if request.truncate == "NONE" and request.max_tokens is not None and max_text_tokens > request.max_tokens:
        message = (
            f"Input of {max_text_tokens} tokens exceeds max_tokens={request.max_tokens} with truncate=NONE. "
            "Set truncate to END or START to allow truncation."
        )
        raise ApiError(400, message, parameter="max_tokens", reason="invalid")
    arrays = [np.ascontiguousarray(output.outputs.array) for output in outputs]
    return arrays, num_tokens
