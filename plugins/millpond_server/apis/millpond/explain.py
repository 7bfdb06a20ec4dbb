"""Handler of ``POST /explain``: the matching tokens and shared terms that make up the score of a document."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from millpond import AsyncLLM, PoolingRequestOutput, SparseEmbeddingOutput
from millpond_server.apis.millpond.routes import term_names, token_strings
from millpond_server.apis.millpond.schemas import ExplainRequest
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.routes import check_list_lengths
from millpond_server.http.call import Call

MIN_NORM = 1e-8
NO_VECTORS_SCORE = -1e9  # the score of a document without token vectors, like in score and rerank


async def explain(request: ExplainRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the score, the token matches and the terms of each document, and the terms shared with the query."""
    check_list_lengths(call.settings.limits, documents=request.documents)
    options: dict[str, Any] = {"truncate_prompt_tokens": request.truncate_prompt_tokens, "priority": call.priority}
    texts = [request.query, *request.documents]
    data: list[dict[str, Any]] = [{"index": index} for index in range(len(request.documents))]
    body = {"id": call.id("explain"), "object": "list", "model": call.served.name, "data": data}
    input_types: tuple[str | None, str | None]
    outputs: list[Any] = []
    if "embed_sparse" in llm.supported_tasks:
        input_types = (
            ("query", "document") if llm.model_config.retrieval.static_query_weights is not None else (None, None)
        )
        outputs = await llm.embed_sparse(texts[:1], return_tokens=True, input_type=input_types[0], **options)
        outputs += await llm.embed_sparse(texts[1:], return_tokens=True, input_type=input_types[1], **options)
        query, *documents = (output.outputs for output in outputs)
        as_cosine = _is_sparse_model(llm) and llm.model_config.embedding.similarity == "cosine"
        body["query_terms"] = _terms(query.top(request.top_terms), llm)
        for item, document in zip(data, documents, strict=True):
            shared = _product(query, document, as_cosine=as_cosine)
            item |= {"score": float(shared.values.sum()), "matches": []}
            item["terms"] = _terms(document.top(request.top_terms), llm)
            item["shared"] = _terms(shared.top(request.top_terms), llm)
    if not outputs or not _is_sparse_model(llm):  # a model with neither task refuses token_embed
        late_interaction = llm.model_config.retrieval.late_interaction
        input_types = ("query", "document") if late_interaction is not None else (None, None)
        outputs = await llm.encode(texts[:1], pooling_task="token_embed", input_type=input_types[0], **options)
        outputs += await llm.encode(texts[1:], pooling_task="token_embed", input_type=input_types[1], **options)
        for item, output in zip(data, outputs[1:], strict=True):
            arguments = outputs[0], output, llm, request.return_similarities
            item.update(await asyncio.to_thread(_matches, *arguments))  # takes seconds for long texts
    return {**body, "usage": usage_of(sum(output.num_prompt_tokens for output in outputs))}


def _matches(
    query: PoolingRequestOutput[Any],
    document: PoolingRequestOutput[Any],
    llm: AsyncLLM,
    return_similarities: bool,
) -> dict[str, Any]:
    """Return the best match of each token of the query, and the score; if requested, also all similarities."""
    products = query.outputs.array @ document.outputs.array.T  # [query tokens, document tokens]
    query_tokens, document_tokens = _tokens_of_rows(query, "query", llm), _tokens_of_rows(document, "document", llm)
    all_similarities: dict[str, Any] = {}
    if return_similarities:
        all_similarities = {
            "query_tokens": [token for _, token in query_tokens],
            "document_tokens": [token for _, token in document_tokens],
            "similarities": products,
        }
    if not products.size:
        score = NO_VECTORS_SCORE if not len(document.outputs.array) else 0.0
        return {"score": score, "matches": [], **all_similarities}
    matches = [
        {
            "query_index": query_tokens[row][0],
            "query_token": query_tokens[row][1],
            "document_index": document_tokens[column][0],
            "document_token": document_tokens[column][1],
            "similarity": float(products[row, column]),
        }
        for row, column in enumerate(products.argmax(axis=1))
    ]
    best = products.max(axis=1)
    score = best.mean() if llm.model_config.retrieval.late_similarity == "meanmaxsim" else best.sum()
    return {"score": float(score), "matches": matches, **all_similarities}


def _tokens_of_rows(
    output: PoolingRequestOutput[Any], input_type: str, llm: AsyncLLM
) -> list[tuple[int | None, str | None]]:
    """Return the index and the text of the token of each vector; the model's files can skip tokens.

    If similar vectors are merged, the tokens of a vector are unknown.
    """
    late_interaction = llm.model_config.retrieval.late_interaction
    if late_interaction is not None and getattr(late_interaction, input_type).pooling is not None:
        return [(None, None)] * len(output.outputs.array)
    tokens: list[tuple[int | None, str | None]] = list(enumerate(token_strings(output.prompt_token_ids, llm)))
    if late_interaction is not None:
        tokens = [pair for pair in tokens if pair[1] not in getattr(late_interaction, input_type).skipped]
    return tokens[len(tokens) - len(output.outputs.array) :]  # other skipped tokens are at the start of the text


def _is_sparse_model(llm: AsyncLLM) -> bool:
    """Return True if the model's main embeddings are sparse vectors, not token vectors."""
    return llm.model_config.embedding.sparse is not None or "token_embed" not in llm.supported_tasks


def _product(
    query: SparseEmbeddingOutput, document: SparseEmbeddingOutput, *, as_cosine: bool
) -> SparseEmbeddingOutput:
    """Return the contribution of each term to the dot product of two sparse vectors, or to their cosine."""
    shared, left, right = np.intersect1d(query.indices, document.indices, assume_unique=True, return_indices=True)
    products = query.values[left] * document.values[right]
    if as_cosine:
        products /= max(float(np.linalg.norm(query.values) * np.linalg.norm(document.values)), MIN_NORM)
    return SparseEmbeddingOutput(products, indices=shared, size=query.size)


def _terms(terms: Sequence[tuple[int, float]], llm: AsyncLLM) -> list[dict[str, Any]]:
    names = term_names([token for token, _ in terms], llm)
    return [
        {"token_id": token, "token": name, "weight": weight} for (token, weight), name in zip(terms, names, strict=True)
    ]
