"""``POST /explain``: which tokens of a document make its score: the best match of each token of the query (MaxSim)."""

from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingParams
from millpond_server.call import Call
from millpond_server.protocol.embeddings import usage_of
from millpond_server.protocol.represent import ExplainRequest
from millpond_server.routes.represent import tokens_of


async def explain(request: ExplainRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The matches of each document, and their sum."""
    truncate = request.truncate_prompt_tokens
    query, *documents = await llm.encode(
        [request.query, *request.documents],
        PoolingParams(truncate_prompt_tokens=truncate),
        pooling_task="token_embed",
        priority=call.priority,
    )
    asked = tokens_of(query.prompt_token_ids, llm)
    data = []
    for place, document in enumerate(documents):
        products = query.outputs.array @ document.outputs.array.T  # [query tokens, document tokens]
        best = products.argmax(axis=1)
        found = tokens_of(document.prompt_token_ids, llm)
        matches = [
            {
                "query_index": row,
                "query_token": asked[row],
                "document_index": int(column),
                "document_token": found[column],
                "similarity": float(products[row, column]),
            }
            for row, column in enumerate(best)
        ]
        data.append({"index": place, "score": float(np.sum(products.max(axis=1))), "matches": matches})
    return {
        "id": call.id("explain"),
        "object": "list",
        "model": call.served.name,
        "data": data,
        "usage": usage_of(sum(output.num_prompt_tokens for output in (query, *documents))),
    }
