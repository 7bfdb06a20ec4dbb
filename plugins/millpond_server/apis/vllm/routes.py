"""``POST /score`` and ``POST /rerank``: scores of queries and documents, and documents in their order."""

from collections.abc import Sequence
from typing import Any

from millpond import AsyncLLM, PoolingParams, ScoringRequestOutput
from millpond_server.apis.common.scoring_inputs import check_images_of, content_of, side_of, told
from millpond_server.apis.openai.routes import mixed
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.schemas import RerankRequest, ScoreRequest, ScoringOptions
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits


async def score(request: ScoreRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The score of each pair."""
    queries, documents = request.sides
    outputs = await scored(side_of(queries), side_of(documents), request, llm, call)
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
    given = request.documents if isinstance(request.documents, list) else [request.documents]
    query, documents = content_of(request.query), [content_of(document, request.rank_fields) for document in given]
    _check_contents("query", [query])
    _check_contents("documents", documents)
    outputs = await scored(query, documents, request, llm, call)
    results: list[dict[str, Any]] = []
    for place in ranked(outputs)[: request.top_n or len(outputs)]:
        result: dict[str, Any] = {"index": place, "relevance_score": outputs[place].outputs.score}
        if request.return_documents:
            result["document"] = told(documents[place])
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
    check_images_of((queries, documents), call.settings.limits)
    outputs = await llm.score(
        queries,
        documents,
        pooling_params=PoolingParams(use_activation=request.use_activation, extra_kwargs=mixed(request.mixed)),
        priority=request.priority + call.priority,
        **request.of_pairs(),
        **request.options(),
    )
    check_whole(outputs, request)
    return outputs


def check_whole(outputs: Sequence[ScoringRequestOutput], request: ScoringOptions) -> None:
    """Refuse ``max_chunks_per_doc`` where a pair was cut: chunks beyond what was kept would count then.

    Raises:
        ApiError: 400.
    """
    place = next((place for place, output in enumerate(outputs) if output.num_dropped_tokens), None)
    if request.max_chunks_per_doc is None or place is None:
        return
    message = (
        f"max_chunks_per_doc={request.max_chunks_per_doc} is not supported for texts that are cut: documents are read "
        f"whole, as one chunk, and {outputs[place].num_dropped_tokens} tokens of pair {place} were cut off; leave the "
        "field out to score what is kept, or send shorter documents"
    )
    raise ApiError(400, message, parameter="max_chunks_per_doc", reason="unsupported")


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


def _check_contents(field: str, contents: Sequence[Any]) -> None:
    """Refuse a query, or documents, that are neither texts nor objects.

    Raises:
        ApiError: 400.
    """
    if not all(isinstance(content, str | dict) for content in contents):
        one = "a query" if field == "query" else "a document"
        message = f"{one} must be a text, or an object with a `text`, an `image` or a `content` of parts"
        raise ApiError(400, message, parameter=field, reason="invalid")


def _tokens(outputs: Sequence[ScoringRequestOutput]) -> int:
    return sum(output.num_prompt_tokens for output in outputs)
