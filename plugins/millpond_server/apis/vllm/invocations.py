"""``POST /invocations``, as SageMaker calls it: the first route whose body it is."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from millpond import AsyncLLM
from millpond_server.apis.openai.routes import embeddings
from millpond_server.apis.openai.schemas import EmbeddingRequest
from millpond_server.apis.vllm.classify import classify
from millpond_server.apis.vllm.classify_schemas import ClassificationRequest
from millpond_server.apis.vllm.pooling import pooling
from millpond_server.apis.vllm.pooling_schemas import PoolingRequest
from millpond_server.apis.vllm.routes import rerank, score
from millpond_server.apis.vllm.schemas import RerankRequest, ScoreRequest
from millpond_server.http.body import validate
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

Handler = Callable[[Any, AsyncLLM, Call], Awaitable[Any]]
CANDIDATES: tuple[tuple[str | None, type[BaseModel], Handler], ...] = (
    ("embed", EmbeddingRequest, embeddings),
    ("classify", ClassificationRequest, classify),
    ("score", RerankRequest, rerank),
    ("score", ScoreRequest, score),
    (None, PoolingRequest, pooling),
)


async def invocations(body: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> Any:
    """The answer of the first route that the model serves and the body fits."""
    refusals: list[str] = []
    for task, model, handler in CANDIDATES:
        if task is not None and task not in llm.supported_tasks:
            continue
        try:
            request = validate(model, body)
        except ApiError as error:
            refusals.append(f"{model.__name__}: {error.message}")
            continue
        call.take_id(request)
        return await handler(request, llm, call)
    raise ApiError(400, "the body is that of no route:\n" + "\n".join(refusals), kind="Bad Request", reason="schema")
