"""Handlers of Ollama's routes."""

import asyncio
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from millpond import PoolingParams
from millpond_ollama.descriptions import full_description, tagged_model
from millpond_ollama.names import select_model
from millpond_ollama.schemas import EmbeddingsRequest, EmbedRequest, RerankRequest, ShowRequest

API_VERSION = "0.12.0"  # of Ollama: clients compare it to find out what they may use
MIN_NORM = 1e-12  # vectors with a smaller norm are not normalized


def render_error(error: Any) -> JSONResponse:
    """Return an error in Ollama's format."""
    return JSONResponse({"error": error.message}, status_code=error.status, headers=error.headers)


async def embed(request: EmbedRequest, _: Any, call: Any) -> dict[str, Any]:
    """Return one vector per text, of length 1. ``dimensions`` truncates the vectors of any model."""
    start = perf_counter_ns()
    served = select_model(request.model, call)
    selected = perf_counter_ns()
    outputs = await _embed(request.texts, request, served, call, normalize=True)
    return {
        "model": request.model,
        "embeddings": [_truncate(output.outputs.array, request.dimensions) for output in outputs],
        **_durations(start, selected, outputs),
    }


async def embeddings(request: EmbeddingsRequest, _: Any, call: Any) -> dict[str, Any]:
    """Return the vector of one text, not normalized; an empty vector for an empty text, like Ollama."""
    served = select_model(request.model, call)
    outputs = await _embed([request.prompt] if request.prompt else [], request, served, call, normalize=False)
    return {"embedding": outputs[0].outputs.array if outputs else []}


async def _embed(
    texts: list[str], request: EmbedRequest | EmbeddingsRequest, served: Any, call: Any, *, normalize: bool
) -> list[Any]:
    """Return the outputs of the model for texts."""
    _check_count("input", texts, call.settings.limits.inputs)
    if not texts:
        return []
    outputs: list[Any] = await served.llm.embed(
        texts,
        pooling_params=PoolingParams(task="embed", use_activation=normalize),
        priority=call.priority,
        **request.truncation(served.llm.model_config.max_model_len),
    )
    return outputs


def _truncate(vector: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Return the first dimensions of a vector, normalized again; the whole vector if it has no more."""
    if not 0 < dimensions < len(vector):
        return vector
    first = vector[:dimensions]
    return first / max(float(np.linalg.norm(first)), MIN_NORM)


def _durations(start: int, selected: int, outputs: list[Any]) -> dict[str, int]:
    """Return the durations in nanoseconds, and the number of tokens."""
    return {
        "total_duration": perf_counter_ns() - start,
        "load_duration": selected - start,
        "prompt_eval_count": sum(output.num_prompt_tokens for output in outputs),
    }


def _check_count(field: str, texts: list[str], maximum: int) -> None:
    """Refuse a request with too many texts.

    Raises:
        HTTPException: 413 with the maximum of the server.
    """
    if len(texts) > maximum:
        raise HTTPException(413, f"{field} contains {len(texts)} texts; the list length is limited to {maximum}")


async def rerank(request: RerankRequest, _: Any, call: Any) -> dict[str, Any]:
    """Return the documents, most relevant first."""
    start = perf_counter_ns()
    served = select_model(request.model, call)
    selected = perf_counter_ns()
    documents = request.documents
    _check_count("documents", documents, call.settings.limits.documents)
    outputs: list[Any] = []
    if documents:
        options = request.truncation(served.llm.model_config.max_model_len)
        outputs = await served.llm.score(request.query, documents, priority=call.priority, **options)
    scores = [output.outputs.score for output in outputs]
    ranking = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
    return {
        "model": request.model,
        "results": [
            {"index": index, "document": documents[index], "relevance_score": scores[index]} for index in ranking
        ],
        **_durations(start, selected, outputs),
    }


async def tags(_: Any, __: Any, call: Any) -> dict[str, Any]:
    """Return all models, once for each of their names."""

    def describe() -> list[dict[str, Any]]:
        return [tagged_model(name, served.llm.model_config) for served in call.models.served for name in served.names]

    return {"models": await asyncio.to_thread(describe)}  # it reads files


async def show(request: ShowRequest, _: Any, call: Any) -> dict[str, Any]:
    """Return the description of a model."""
    name = request.model or request.name
    llm = select_model(name, call).llm
    return await asyncio.to_thread(full_description, name, llm.model_config, llm.supported_tasks)


async def version(_: Any, __: Any) -> dict[str, str]:
    """Return the version of Ollama whose API this is."""
    return {"version": API_VERSION}
