"""``POST /jina/v1/embeddings``: OpenAI's, with texts without characters among the inputs."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.jina.schemas import JinaEmbeddingRequest
from millpond_server.apis.openai.routes import embeddings_of_all
from millpond_server.http.call import Call


async def embeddings(request: JinaEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """One vector an input, of the kind that is asked for."""
    return await embeddings_of_all(request, llm, call)
