"""Handlers of Infinity's routes at the root, with the error format of the other routes."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.infinity import routes as infinity
from millpond_server.apis.infinity.schemas import InfinityEmbeddingRequest
from millpond_server.apis.openai.routes import embeddings_with_empty_texts
from millpond_server.http.call import Call


async def embeddings(request: InfinityEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input."""
    return await embeddings_with_empty_texts(request, llm, call)


async def embeddings_image(request: InfinityEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per image."""
    return await embeddings_with_empty_texts(request.model_copy(update={"modality": "image"}), llm, call)


async def list_models(_: Any, llm: AsyncLLM, call: Call) -> Any:
    """Return the models of the server in Infinity's format."""
    return await infinity.list_models(_, llm, call)
