"""``POST /score`` and ``POST /rerank``: scores of queries and documents, and documents in their order."""

from collections.abc import Sequence
from typing import Any

from millpond import AsyncLLM, PoolingParams, ScoringRequestOutput
from millpond_server.call import Call
from millpond_server.errors import ApiError
from millpond_server.protocol.embeddings import usage_of
from millpond_server.protocol.scoring import RerankRequest, ScoreRequest, ScoringOptions
from millpond_server.settings import Limits


async def score(request: ScoreRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The score of each pair."""
    queries, documents = request.sides
    outputs = await scored(queries, documents, request, llm, call)
    return {
        "id": call.id("score"),
        "object": "list",
        "created": call.created,
        "model": call.served.name,
        "data": [
            {"index": place, "object": "score", "score": output.outputs.score} for place, output in enumerate(outputs)
        ],
        "usage": usage_of(_tokens(outputs)),
    }


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, those that fit the query best first."""
    documents = request.documents if isinstance(request.documents, list) else [request.documents]
    texts = [document_text(document, request.rank_fields) for document in documents]
    outputs = await scored(request.query, texts, request, llm, call)
    results: list[dict[str, Any]] = []
    for place in ranked(outputs)[: request.top_n or len(outputs)]:
        result: dict[str, Any] = {"index": place, "relevance_score": outputs[place].outputs.score}
        if request.return_documents:
            result["document"] = {"text": texts[place], "multi_modal": None}
        results.append(result)
    tokens = _tokens(outputs)
    return {
        "id": call.id("rerank"),
        "model": call.served.name,
        "usage": usage_of(tokens),
        "results": results,
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1, "input_tokens": tokens},
            "tokens": {"input_tokens": tokens},
        },
    }


async def scored(
    queries: object, documents: object, request: ScoringOptions, llm: AsyncLLM, call: Call
) -> list[ScoringRequestOutput]:
    """The scores of two sides, of which there may not be too many."""
    check_sides(call.settings.limits, queries=queries, documents=documents)
    return await llm.score(
        queries,
        documents,
        pooling_params=PoolingParams(use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **request.of_pairs(),
        **request.options(),
    )


def check_sides(limits: Limits, **sides: object) -> None:
    """Refuse sides, by the names of their fields, that hold too many texts.

    Raises:
        ApiError: 413.
    """
    for name, side in sides.items():
        if isinstance(side, list) and len(side) > limits.documents:
            message = f"{name} holds {len(side)} items; the list length is limited to {limits.documents}"
            raise ApiError(413, message, parameter=name, reason="inputs")


def ranked(outputs: Sequence[ScoringRequestOutput]) -> list[int]:
    """The places of outputs, best first; of equals the first one goes before."""
    return sorted(range(len(outputs)), key=lambda place: -outputs[place].outputs.score)


def document_text(document: Any, rank_fields: Sequence[str] | None = None) -> str:
    """The text of a document: itself, the text that it holds, or the fields that are to be read, a line each.

    Raises:
        ApiError: If it has none.
    """
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        if rank_fields:
            return "\n".join(f"{name}: {document[name]}" for name in rank_fields if name in document)
        if isinstance(document.get("text"), str):
            return str(document["text"])
        content = document.get("content")
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
            if parts and len(parts) == len(content) and all(isinstance(part, str) for part in parts):
                return "\n".join(map(str, parts))
    message = "a document must be a text, an object with a `text`, or one with a `content` of parts of text"
    raise ApiError(400, message, parameter="documents", reason="invalid")


def _tokens(outputs: Sequence[ScoringRequestOutput]) -> int:
    return sum(output.num_prompt_tokens for output in outputs)
