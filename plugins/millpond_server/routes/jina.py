"""``POST /jina/v1/embeddings``: OpenAI's, with what Jina's clients say beside it."""

from typing import Any

from millpond import AsyncLLM, PoolingParams
from millpond_server.call import Call
from millpond_server.errors import ApiError
from millpond_server.inputs import prompts_of
from millpond_server.protocol.embeddings import usage_of
from millpond_server.protocol.jina import JinaEmbeddingRequest
from millpond_server.routes.cohere import KINDS
from millpond_server.routes.embeddings import with_purpose


async def embeddings(request: JinaEmbeddingRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """One vector an input, of the kind that is asked for."""
    options = with_purpose(request, llm)
    if request.truncate:
        options.setdefault("truncate_prompt_tokens", -1)
    outputs = await llm.embed(
        prompts_of(request, call.settings.limits, llm),
        pooling_params=PoolingParams(dimensions=request.dimensions, use_activation=request.normalized),
        priority=request.priority + call.priority,
        **options,
    )
    kind: object = request.embedding_type or request.encoding_format
    kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    if not isinstance(kind, str) or kind not in KINDS:
        raise ApiError(400, f"embedding_type {kind!r}: expected one of {', '.join(KINDS)}", parameter="embedding_type")
    tokens = sum(output.num_prompt_tokens for output in outputs)
    return {
        "id": call.id("embd"),
        "object": "list",
        "created": call.created,
        "model": call.served.name,
        "data": [
            {"index": place, "object": "embedding", "embedding": KINDS[kind](output.outputs.array)}
            for place, output in enumerate(outputs)
        ],
        "usage": usage_of(tokens),
    }
