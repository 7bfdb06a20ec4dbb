"""The routes of Infinity that no body tells from those of others: documents as texts, classes as pairs."""

from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond_server.call import Call
from millpond_server.inputs import prompts_of, read_inputs
from millpond_server.protocol.infinity import InfinityClassifyRequest, InfinityRerankRequest, usage
from millpond_server.protocol.models import ModelList
from millpond_server.routes import models
from millpond_server.routes.scoring import ranked


async def rerank(request: InfinityRerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, those that fit the query best first, each as its text."""
    outputs = await llm.score(
        request.query,
        read_inputs(request.documents, call.settings.limits, llm, parameter="documents"),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
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
    outputs = await llm.classify(
        prompts_of(request, call.settings.limits, llm, pairs=True),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
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


async def list_models(_: Any, llm: AsyncLLM, call: Call) -> ModelList:
    """The models of the server, owned as Infinity's client must have it: by Infinity alone."""
    listed = await models.list_models(_, llm, call)
    return ModelList(data=[card.model_copy(update={"owned_by": "infinity"}) for card in listed.data])
