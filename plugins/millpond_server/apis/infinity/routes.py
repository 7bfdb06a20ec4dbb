"""Handlers of Infinity's routes under /infinity, with its response formats and statuses; long texts are truncated."""

import time
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import PoolingOutput, PoolingRequestOutput
from millpond_server.apis.common.inputs import prompts_of, read_inputs
from millpond_server.apis.common.schemas import TextOptions
from millpond_server.apis.infinity.capabilities import capabilities_of, check_capability, render_infinity_error
from millpond_server.apis.infinity.schemas import (
    InfinityClassifyRequest,
    InfinityModelCard,
    InfinityModelList,
    InfinityRerankRequest,
    InfinityTextsRequest,
    usage,
)
from millpond_server.apis.millpond import health as liveness
from millpond_server.apis.openai.routes import (
    embed,
    embeddings_response,
    model_card,
)
from millpond_server.apis.vllm.routes import check_not_truncated, ranked
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = ("InfinityError",)  # the schemas of error bodies in the OpenAPI description
render_error = render_infinity_error
R = TypeVar("R", bound=TextOptions)


async def embeddings(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input, or one per token if the model embeds so."""
    check_capability(llm, call, "embed" if request.modality == "text" else f"{request.modality}_embed")
    request = with_truncation(request)
    outputs = await embed(request.model_copy(update={"dimensions": None}), llm, call)
    return embeddings_response(_truncated(outputs, request.dimensions), request, call, prefix="infinity")


def _truncated(outputs: list[PoolingRequestOutput[Any]], dimensions: int | None) -> list[PoolingRequestOutput[Any]]:
    """Return the outputs with the first dimensions of each vector, which is not normalized again.

    Raises:
        ApiError: 400 if the vectors have fewer dimensions.
    """
    if dimensions is None:
        return outputs
    size = outputs[0].outputs.array.shape[-1]
    if dimensions > size:
        message = f"`dimensions` must be from 1 to {size}, the size of the model's vectors; got {dimensions}"
        raise ApiError(400, message, parameter="dimensions", reason="invalid")
    return [
        replace(output, outputs=PoolingOutput(np.ascontiguousarray(output.outputs.array[..., :dimensions])))
        for output in outputs
    ]


async def embeddings_image(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per image."""
    return await embeddings(request.model_copy(update={"modality": "image"}), llm, call)


async def embeddings_audio(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """Refuse audio: no model supports it."""
    return await embeddings(request.model_copy(update={"modality": "audio"}), llm, call)


async def rerank(request: InfinityRerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the documents, most relevant first."""
    check_capability(llm, call, "rerank", is_supported="score" in llm.supported_tasks)
    use_activation = not request.raw_scores if request.use_activation is None else request.use_activation
    outputs = await llm.score(
        request.query,
        read_inputs(request.documents, call.settings.limits, llm, parameter="documents"),
        pooling_params=PoolingParams(use_activation=use_activation),
        priority=request.priority + call.priority,
        **request.score_options(),
        **with_truncation(request).options(),
    )
    check_not_truncated(outputs, request)
    indices = ranked(outputs)[: request.top_n or len(outputs)]
    return {
        "id": call.id("infinity"),
        "object": "rerank",
        "model": call.served.name,
        "created": call.created,
        "results": [
            {
                "index": index,
                "relevance_score": outputs[index].outputs.score,
                "document": request.documents[index] if request.return_documents else None,
            }
            for index in indices
        ],
        "usage": usage(sum(output.num_prompt_tokens for output in outputs)),
    }


async def classify(request: InfinityClassifyRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the classes of each text with their labels, most probable first."""
    check_capability(llm, call, "classify")
    outputs = await llm.classify(
        prompts_of(request, call.settings.limits, llm, pairs=True),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **with_truncation(request).options(),
    )
    labels = llm.model_config.labels
    data = []
    for output in outputs:
        pairs = list(zip(labels, output.outputs.probs, strict=True))
        data.append([{"label": label, "score": score} for label, score in sorted(pairs, key=lambda pair: -pair[1])])
    return {
        "id": call.id("infinity"),
        "object": "classify",
        "model": call.served.name,
        "created": call.created,
        "data": data,
        "usage": usage(sum(output.num_prompt_tokens for output in outputs)),
    }


async def list_models(_: Any, __: AsyncLLM, call: Call) -> InfinityModelList:
    """Return the models of the server with their capabilities, and the owner that Infinity's client expects."""
    return InfinityModelList(
        data=[
            InfinityModelCard(
                **{**(await model_card(model, name)).model_dump(), "owned_by": "infinity"},
                capabilities=capabilities_of(model.llm),
            )
            for model in call.models.served
            for name in model.names
        ]
    )


async def health(_: Any, llm: AsyncLLM, call: Call) -> dict[str, float]:
    """Return the time if all engines are running; otherwise respond with 503."""
    await liveness.health(_, llm, call)
    return {"unix": time.time()}


def with_truncation(request: R) -> R:
    """Return the request with truncation to the model's maximum, unless it contains a truncation option."""
    has_option = request.truncate_prompt_tokens is not None or getattr(request, "truncate", None) is not None
    return request if has_option else request.model_copy(update={"truncate_prompt_tokens": -1})
