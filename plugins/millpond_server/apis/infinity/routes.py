"""The routes of Infinity under its prefix: its answers, its statuses, and texts that are too long cut."""

import time
from typing import Any, TypeVar

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import PoolingRequestOutput
from millpond_server.apis.common.inputs import prompts_of, read_inputs
from millpond_server.apis.common.schemas import TextOptions
from millpond_server.apis.infinity.capabilities import capabilities_of, check_capability, render_infinity_error
from millpond_server.apis.infinity.schemas import (
    InfinityClassifyRequest,
    InfinityEmbeddingRequest,
    InfinityModelCard,
    InfinityModelList,
    InfinityRerankRequest,
    InfinityTextsRequest,
    usage,
)
from millpond_server.apis.millpond import health as liveness
from millpond_server.apis.openai import routes as openai
from millpond_server.apis.openai.routes import embedded, params_of, prompts_of_modality, told
from millpond_server.apis.vllm.routes import check_whole, ranked
from millpond_server.http.call import Call

ERRORS = ("InfinityError",)  # the bodies of its errors, by their names in the description of the routes
render_error = render_infinity_error
R = TypeVar("R", bound=TextOptions)


async def embeddings(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """One vector an input; one a token of each, of a model that has those alone."""
    check_capability(llm, call, "embed" if request.modality == "text" else f"{request.modality}_embed")
    request = cut(request)
    outputs = await _of_tokens(request, llm, call) if is_late(llm) else await embedded(request, llm, call)
    return told(outputs, request, call, prefix="infinity")


async def embeddings_image(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """One vector an image."""
    return await embeddings(request.model_copy(update={"modality": "image"}), llm, call)


async def embeddings_audio(request: InfinityTextsRequest, llm: AsyncLLM, call: Call) -> Any:
    """Refuse recordings: no model here reads them."""
    return await embeddings(request.model_copy(update={"modality": "audio"}), llm, call)


def is_late(llm: AsyncLLM) -> bool:
    """Whether a model has vectors of tokens alone, as ColBERT has."""
    return "embed" not in llm.supported_tasks and "token_embed" in llm.supported_tasks


async def _of_tokens(request: InfinityEmbeddingRequest, llm: AsyncLLM, call: Call) -> list[PoolingRequestOutput[Any]]:
    return await llm.encode(
        prompts_of_modality(request, llm, call),
        params_of(request),
        pooling_task="token_embed",
        priority=request.priority + call.priority,
        **request.options(),
    )


async def rerank(request: InfinityRerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, those that fit the query best first, each as its text."""
    check_capability(llm, call, "rerank", serves="score" in llm.supported_tasks)
    use_activation = not request.raw_scores if request.use_activation is None else request.use_activation
    outputs = await llm.score(
        request.query,
        read_inputs(request.documents, call.settings.limits, llm, parameter="documents"),
        pooling_params=PoolingParams(use_activation=use_activation),
        priority=request.priority + call.priority,
        **request.of_pairs(),
        **cut(request).options(),
    )
    check_whole(outputs, request)
    places = ranked(outputs)[: request.top_n or len(outputs)]
    return {
        "id": call.id("infinity"),
        "object": "rerank",
        "model": call.served.name,
        "created": call.created,
        "results": [
            {
                "index": place,
                "relevance_score": outputs[place].outputs.score,
                "document": request.documents[place] if request.return_documents else None,
            }
            for place in places
        ],
        "usage": usage(sum(output.num_prompt_tokens for output in outputs)),
    }


async def classify(request: InfinityClassifyRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The classes of each text by their names, most probable first."""
    check_capability(llm, call, "classify")
    outputs = await llm.classify(
        prompts_of(request, call.settings.limits, llm, pairs=True),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **cut(request).options(),
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
    """The models of the server, owned as Infinity's client must have it, and what each serves by Infinity's names."""
    return InfinityModelList(
        data=[
            InfinityModelCard(
                **{**openai.card(model, name).model_dump(), "owned_by": "infinity"},
                capabilities=capabilities_of(model.llm),
            )
            for model in call.models.served
            for name in model.names
        ]
    )


async def health(_: Any, llm: AsyncLLM, call: Call) -> dict[str, float]:
    """The time, if every engine turns."""
    await liveness.health(_, llm, call)
    return {"unix": time.time()}


def cut(request: R) -> R:
    """The request with texts cut to the model's maximum, unless it says otherwise."""
    said = request.truncate_prompt_tokens is not None or getattr(request, "truncate", None) is not None
    return request if said else request.model_copy(update={"truncate_prompt_tokens": -1})
