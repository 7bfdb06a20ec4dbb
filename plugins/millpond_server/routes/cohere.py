"""``POST /v2/embed`` and ``POST /v1/embed``, as Cohere has them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingParams
from millpond_server.call import Call
from millpond_server.errors import ApiError
from millpond_server.inputs import read_inputs
from millpond_server.protocol.cohere import CohereEmbedRequest
from millpond_server.protocol.scoring import RerankRequest
from millpond_server.routes import scoring
from millpond_server.wire import Array, to_base64, to_bits, to_int8, to_signed_bits, to_uint8

# What Cohere calls the purposes of texts, and the names of prompts that mean the same.
MEANINGS: Mapping[str, tuple[str, ...]] = {
    "search_query": ("query", "retrieval.query", "web_search_query", "s2p_query", "retrieval_query"),
    "search_document": ("document", "passage", "retrieval.passage", "corpus", "retrieval_document"),
    "classification": ("Classification",),
    "clustering": ("Clustering", "separation"),
    "image": (),
}
MEANINGS_BACK = {other: name for name, others in MEANINGS.items() for other in others}
KINDS: Mapping[str, Callable[[Array], Any]] = {
    "float": lambda array: array,
    "int8": to_int8,
    "uint8": to_uint8,
    "binary": to_signed_bits,
    "ubinary": to_bits,
    "base64": to_base64,
}
BITS = ("binary", "ubinary")


async def embed(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Vectors by their kinds: Cohere's second version."""
    texts = _texts(request)
    arrays, tokens = await _vectors(texts, request, llm, call)
    return _answer(request, call, texts, tokens, by_type(arrays, request.embedding_types or ["float"]))


async def embed_v1(request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The same, as Cohere's first version answers: a bare list of vectors where no kinds are named."""
    texts = _texts(request)
    arrays, tokens = await _vectors(texts, request, llm, call)
    if request.embedding_types:
        return _answer(request, call, texts, tokens, by_type(arrays, request.embedding_types))
    return _answer(request, call, texts, tokens, arrays)


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, best first, as Cohere has it: too long ones are cut, and no limit is beyond the model's own."""
    changes: dict[str, Any] = {}
    if request.max_tokens_per_doc >= llm.model_config.max_model_len:
        changes["max_tokens_per_doc"] = 0
    if request.truncate_prompt_tokens is None:
        changes["truncate_prompt_tokens"] = -1
    return await scoring.rerank(request.model_copy(update=changes), llm, call)


def by_type(arrays: list[Array], kinds: list[Any]) -> dict[str, Any]:
    """Vectors in each of the kinds that are asked for.

    Raises:
        ApiError: If bits are asked for of a number of dimensions that fills no whole bytes.
    """
    check_bits(arrays[0].shape[-1], kinds)
    return {kind: [KINDS[kind](array) for array in arrays] for kind in dict.fromkeys(kinds)}


def check_bits(size: int, kinds: Sequence[str]) -> None:
    """Refuse bits of a number of dimensions that fills no whole bytes."""
    if size % 8 and any(kind in BITS for kind in kinds):
        message = f"Embedding dimension must be a multiple of 8 for binary embedding types, but got {size}."
        raise ApiError(400, message, parameter="embedding_types", reason="invalid")


def prompt_name(input_type: str | None, llm: AsyncLLM) -> str | None:
    """The model's prompt for a purpose: of its name, or of its meaning; None for none."""
    prompts = llm.model_config.prompts
    if input_type is None or input_type in prompts:
        return input_type
    meant = MEANINGS_BACK.get(input_type, input_type)
    return next((name for name in (meant, *MEANINGS.get(meant, ())) if name in prompts), None)


def _answer(request: CohereEmbedRequest, call: Call, texts: list[str], tokens: int, embeddings: Any) -> dict[str, Any]:
    kind = "embeddings_by_type" if isinstance(embeddings, dict) else "embeddings_floats"
    return {
        "id": call.id("embd"),
        "embeddings": embeddings,
        "texts": texts if request.texts else [],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"input_tokens": tokens, "image_tokens": 0},
            "tokens": {"input_tokens": tokens},
        },
        "response_type": kind,
    }


def _texts(request: CohereEmbedRequest) -> list[str]:
    if request.texts:
        return request.texts
    if request.images:
        raise ApiError(400, "this model reads text alone, and the request has images", parameter="images")
    return [_text(item, place) for place, item in enumerate(request.inputs or ())]


def _text(item: dict[str, Any], place: int) -> str:
    parts = item.get("content")
    if not isinstance(parts, list) or not parts:
        message = f"inputs[{place}] must have a `content`, a list of parts"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        message = f"inputs[{place}]: this model reads parts of the type text alone, each with a `text`"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    return "\n".join(map(str, texts))


async def _vectors(texts: list[str], request: CohereEmbedRequest, llm: AsyncLLM, call: Call) -> tuple[list[Array], int]:
    options: dict[str, Any] = {}
    if request.truncate != "NONE":
        most = llm.model_config.max_model_len
        options["truncate_prompt_tokens"] = -1 if request.max_tokens is None else min(request.max_tokens, most)
        if request.truncate == "START":
            options["tokenization_kwargs"] = {"truncation_side": "left"}
    name = prompt_name(request.input_type, llm)
    if name is not None:
        options["prompt_name"] = name
    outputs = await llm.embed(
        read_inputs(texts, call.settings.limits, llm, parameter="texts"),
        pooling_params=PoolingParams(dimensions=request.output_dimension),
        priority=request.priority + call.priority,
        **options,
    )
    longest = max(output.num_prompt_tokens for output in outputs)
    if request.truncate == "NONE" and request.max_tokens is not None and longest > request.max_tokens:
        message = (
            f"Input of {longest} tokens exceeds max_tokens={request.max_tokens} with truncate=NONE. "
            "Set truncate to END or START to allow truncation."
        )
        raise ApiError(400, message, parameter="max_tokens", reason="invalid")
    arrays = [np.ascontiguousarray(output.outputs.array) for output in outputs]
    return arrays, sum(output.num_prompt_tokens for output in outputs)
