"""The routes of Infinity that stand at the root, where its clients of other servers find them: errors as elsewhere."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.infinity import routes as infinity
from millpond_server.apis.infinity.schemas import InfinityEmbeddingRequest
from millpond_server.apis.openai.routes import embeddings_of_all
from millpond_server.http.call import Call


async def embeddings(request: InfinityEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """One vector an input."""
    return await embeddings_of_all(request, llm, call)


async def embeddings_image(request: InfinityEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """One vector an image."""
    return await embeddings_of_all(request.model_copy(update={"modality": "image"}), llm, call)


async def list_models(_: Any, llm: AsyncLLM, call: Call) -> Any:
    """The models of the server, as Infinity tells of them."""
    return await infinity.list_models(_, llm, call)
