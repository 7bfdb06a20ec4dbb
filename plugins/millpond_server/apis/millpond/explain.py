"""``POST /explain``: what makes a document's score: the best match of each token of the query, and shared terms."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingRequestOutput, SparseEmbeddingOutput
from millpond_server.apis.millpond.routes import names_of_terms, tokens_of
from millpond_server.apis.millpond.schemas import ExplainRequest
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.routes import check_sides
from millpond_server.http.call import Call

SMALLEST_NORM = 1e-8
NO_VECTORS = -1e9  # the score of a document whose tokens are all left out, as score and rerank have it


async def explain(request: ExplainRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The matches of each document and their sum; its terms, and those that the query has too, where there are any."""
    check_sides(call.settings.limits, documents=request.documents)
    options: dict[str, Any] = {"truncate_prompt_tokens": request.truncate_prompt_tokens, "priority": call.priority}
    texts = [request.query, *request.documents]
    data: list[dict[str, Any]] = [{"index": place} for place in range(len(request.documents))]
    answer = {"id": call.id("explain"), "object": "list", "model": call.served.name, "data": data}
    sides: tuple[str | None, str | None]
    read: list[Any] = []
    if "embed_sparse" in llm.supported_tasks:
        sides = ("query", "document") if llm.model_config.retrieval.static_query_weights is not None else (None, None)
        read = await llm.embed_sparse(texts[:1], return_tokens=True, input_type=sides[0], **options)
        read += await llm.embed_sparse(texts[1:], return_tokens=True, input_type=sides[1], **options)
        query, *documents = (output.outputs for output in read)
        as_cosine = _is_sparse_alone(llm) and llm.model_config.embedding.similarity == "cosine"
        answer["query_terms"] = _terms(query.top(request.top_terms), llm)
        for item, document in zip(data, documents, strict=True):
            shared = _product(query, document, as_cosine=as_cosine)
            item |= {"score": float(shared.values.sum()), "matches": []}
            item["terms"] = _terms(document.top(request.top_terms), llm)
            item["shared"] = _terms(shared.top(request.top_terms), llm)
    if not read or not _is_sparse_alone(llm):  # a model that gives neither refuses
        sides = ("query", "document") if llm.model_config.retrieval.late_interaction is not None else (None, None)
        read = await llm.encode(texts[:1], pooling_task="token_embed", input_type=sides[0], **options)
        read += await llm.encode(texts[1:], pooling_task="token_embed", input_type=sides[1], **options)
        for item, vectors in zip(data, read[1:], strict=True):
            item.update(await asyncio.to_thread(_matched, read[0], vectors, llm))  # seconds, where texts are long
    return {**answer, "usage": usage_of(sum(output.num_prompt_tokens for output in read))}


def _matched(query: PoolingRequestOutput[Any], document: PoolingRequestOutput[Any], llm: AsyncLLM) -> dict[str, Any]:
    """The best match of each token of the query, and the sum of these."""
    products = query.outputs.array @ document.outputs.array.T  # [query tokens, document tokens]
    if not products.size:
        return {"score": NO_VECTORS if not len(document.outputs.array) else 0.0, "matches": []}
    asked, found = (_rows(output, side, llm) for output, side in ((query, "query"), (document, "document")))
    matches = [
        {
            "query_index": asked[row][0],
            "query_token": asked[row][1],
            "document_index": found[column][0],
            "document_token": found[column][1],
            "similarity": float(products[row, column]),
        }
        for row, column in enumerate(products.argmax(axis=1))
    ]
    best = products.max(axis=1)
    score = best.mean() if llm.model_config.retrieval.late_similarity == "meanmaxsim" else best.sum()
    return {"score": float(score), "matches": matches}


def _rows(output: PoolingRequestOutput[Any], side: str, llm: AsyncLLM) -> list[tuple[int | None, str | None]]:
    """The token that each row is of, with its place in the text: some have none, as a model's files say.

    Where they say that the vectors of tokens alike become one, nobody knows of which a row is.
    """
    said = llm.model_config.retrieval.late_interaction
    if said is not None and getattr(said, side).pooling is not None:
        return [(None, None)] * len(output.outputs.array)
    tokens: list[tuple[int | None, str | None]] = list(enumerate(tokens_of(output.prompt_token_ids, llm)))
    if said is not None:
        tokens = [pair for pair in tokens if pair[1] not in getattr(said, side).skipped]
    return tokens[len(tokens) - len(output.outputs.array) :]  # what is left out besides begins a text


def _is_sparse_alone(llm: AsyncLLM) -> bool:
    """Whether what the model embeds by is a weight for each token of the vocabulary, not a vector a token."""
    return llm.model_config.embedding.sparse is not None or "token_embed" not in llm.supported_tasks


def _product(
    query: SparseEmbeddingOutput, document: SparseEmbeddingOutput, *, as_cosine: bool
) -> SparseEmbeddingOutput:
    """What each term adds to the product of two sparse vectors, or to their cosine."""
    shared, left, right = np.intersect1d(query.indices, document.indices, assume_unique=True, return_indices=True)
    found = query.values[left] * document.values[right]
    if as_cosine:
        found /= max(float(np.linalg.norm(query.values) * np.linalg.norm(document.values)), SMALLEST_NORM)
    return SparseEmbeddingOutput(found, indices=shared, size=query.size)


def _terms(terms: Sequence[tuple[int, float]], llm: AsyncLLM) -> list[dict[str, Any]]:
    names = names_of_terms([token for token, _ in terms], llm)
    return [
        {"token_id": token, "token": name, "weight": weight} for (token, weight), name in zip(terms, names, strict=True)
    ]
