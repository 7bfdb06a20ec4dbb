"""``POST /v2/embed`` and ``POST /v1/embed``, as Cohere has them."""

from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingParams
from millpond_server.apis.cohere.schemas import CohereEmbedRequest
from millpond_server.apis.common.input_type import purpose
from millpond_server.apis.common.inputs import check_images, image_prompt, images_among, is_image, read_inputs, url_of
from millpond_server.apis.common.vector_types import by_type
from millpond_server.apis.openai.routes import mixed_modality
from millpond_server.apis.vllm import routes as scoring
from millpond_server.apis.vllm.schemas import RerankRequest
from millpond_server.http.array_encoding import Array
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError


async def embed(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Vectors by their kinds: Cohere's second version."""
    prompts = _prompts(request, llm)
    arrays, tokens = await _vectors(prompts, request, llm, call)
    return _answer(request, call, prompts, tokens, by_type(arrays, request.embedding_types or ["float"]))


async def embed_v1(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The same, as Cohere's first version answers: a bare list of vectors where no kinds are named."""
    prompts = _prompts(request, llm)
    arrays, tokens = await _vectors(prompts, request, llm, call)
    if request.embedding_types:
        return _answer(request, call, prompts, tokens, by_type(arrays, request.embedding_types))
    return _answer(request, call, prompts, tokens, arrays)


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, best first, as Cohere has it: too long ones are cut, and no limit is beyond the model's own."""
    changes: dict[str, Any] = {}
    if request.max_tokens_per_doc >= llm.model_config.max_model_len:
        changes["max_tokens_per_doc"] = 0
    if request.truncate_prompt_tokens is None:
        changes["truncate_prompt_tokens"] = -1
    return await scoring.rerank(request.model_copy(update=changes), llm, call)


def _answer(
    request: CohereEmbedRequest, call: Call, prompts: list[Any], tokens: list[int], embeddings: Any
) -> dict[str, Any]:
    images = [count for count, prompt in zip(tokens, prompts, strict=True) if is_image(prompt)]
    kind = "embeddings_by_type" if isinstance(embeddings, dict) else "embeddings_floats"
    return {
        "id": call.id("embd"),
        "embeddings": embeddings,
        "texts": request.texts or [],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {
                "input_tokens": sum(tokens) - sum(images),
                "image_tokens": sum(images),
                "images": len(images),
            },
            "tokens": {"input_tokens": sum(tokens)},
        },
        "response_type": kind,
    }


def _prompts(request: CohereEmbedRequest, llm: AsyncLLM) -> list[Any]:
    """The texts, images, or contents of a body as prompts."""
    sees = "image" in llm.model_config.multimodal.modalities
    if request.images and not sees:
        raise ApiError(400, "this model reads text alone, and the request has images", parameter="images")
    if reads_both(llm):
        contents = [*(request.texts or ()), *([image_part(url_of(image))] for image in request.images or ())]
        contents += [_parts(item, place, sees=True) for place, item in enumerate(request.inputs or ())]
        return [{"messages": [{"role": "user", "content": content}]} for content in contents]
    if request.texts:
        return list(request.texts)
    if request.images:
        return [image_prompt(image) for image in request.images]
    return [_prompt(_parts(item, place, sees=sees)) for place, item in enumerate(request.inputs or ())]


def reads_both(llm: AsyncLLM) -> bool:
    """Whether the model reads texts with images in one sequence: it is trained on conversations then."""
    return llm.model_config.multimodal.image_reader is not None


def image_part(url: str) -> dict[str, Any]:
    """An image as a part of a message."""
    return {"type": "image_url", "image_url": {"url": url}}


def _parts(item: dict[str, Any], place: int, *, sees: bool) -> list[dict[str, Any]]:
    """The content of one of ``inputs`` as parts of a message.

    Raises:
        ApiError: 400 if it has none, or holds what the model does not read.
    """
    given = item.get("content")
    if not isinstance(given, list) or not given:
        message = f"inputs[{place}] must have a `content`, a list of parts"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    parts: list[dict[str, Any]] = []
    for part in given:
        url, text = _image_of(part) if sees else None, _text_of(part)
        if url is None and not isinstance(text, str):
            kinds = "text, each with a `text`, and image_url alone" if sees else "text alone, each with a `text`"
            message = f"inputs[{place}]: this model reads parts of the type {kinds}"
            raise ApiError(400, message, parameter="inputs", reason="invalid")
        parts.append({"type": "text", "text": text} if url is None else image_part(url))
    return parts


def _prompt(parts: list[dict[str, Any]]) -> Any:
    """Parts as one text; with an image, as a prompt with both."""
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    images = [part["image_url"]["url"] for part in parts if part["type"] != "text"]
    return {"prompt": text, "multi_modal_data": {"image": images}} if images else text


def _text_of(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None


def _image_of(part: Any) -> str | None:
    """The URL of an image, as OpenAI's clients and Cohere's have it."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    held = part.get("image_url")
    url = held.get("url") if isinstance(held, dict) else held
    return url if isinstance(url, str) else None


def _check(prompts: list[Any], request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> None:
    """Refuse more texts, contents or images than a request may hold, before any is read."""
    limits = call.settings.limits
    if len(prompts) > limits.inputs:
        message = f"the request holds {len(prompts)} inputs; their number is limited to {limits.inputs}"
        raise ApiError(413, message, parameter="inputs", reason="inputs")
    contents = [item.get("content") for item in request.inputs or ()]
    texts = [*(request.texts or ()), *("\n".join(filter(None, map(_text_of, parts or ()))) for parts in contents)]
    if texts:
        read_inputs(texts, limits, llm, parameter="texts")
    count = len(request.images or ()) + sum(map(images_among, contents))
    check_images(count, limits, parameter="images" if request.images else "inputs")


async def _vectors(
    prompts: list[Any], request: CohereEmbedRequest, llm: AsyncLLM, call: Call
) -> tuple[list[Array], list[int]]:
    options: dict[str, Any] = {}
    if request.truncate != "NONE":
        most = llm.model_config.max_model_len
        options["truncate_prompt_tokens"] = -1 if request.max_tokens is None else min(request.max_tokens, most)
        options["tokenization_kwargs"] = {"truncation_side": "left" if request.truncate == "START" else "right"}
    options |= purpose(request.input_type, llm)
    _check(prompts, request, llm, call)
    if reads_both(llm) and "prompt_name" in options:
        prefix = llm.model_config.prompting.prompts[options.pop("prompt_name")]
        prompts = [{**prompt, "prefix": prefix} for prompt in prompts]
        options["prompt"] = ""
    outputs = await llm.embed(
        prompts,
        pooling_params=PoolingParams(dimensions=request.output_dimension, extra_kwargs=mixed_modality(request.mixed)),
        priority=request.priority + call.priority,
        **options,
    )
    tokens = [output.num_prompt_tokens for output in outputs]
    longest = max((count for count, prompt in zip(tokens, prompts, strict=True) if not is_image(prompt)), default=0)
    if request.truncate == "NONE" and request.max_tokens is not None and longest > request.max_tokens:
        message = (
            f"Input of {longest} tokens exceeds max_tokens={request.max_tokens} with truncate=NONE. "
            "Set truncate to END or START to allow truncation."
        )
        raise ApiError(400, message, parameter="max_tokens", reason="invalid")
    arrays = [np.ascontiguousarray(output.outputs.array) for output in outputs]
    return arrays, tokens
