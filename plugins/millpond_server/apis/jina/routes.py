"""Handler of ``POST /jina/v1/embeddings``: OpenAI's route, with empty texts allowed."""

from typing import Any

from millpond import AsyncLLM
from millpond_server.apis.jina.schemas import JinaEmbeddingRequest
from millpond_server.apis.openai.routes import embeddings_with_empty_texts
from millpond_server.http.call import Call


async def embeddings(request: JinaEmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input, in the requested type."""
    return await embeddings_with_empty_texts(request, llm, call)
