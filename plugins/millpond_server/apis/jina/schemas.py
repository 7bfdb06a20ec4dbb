"""Schema of Jina's ``POST /v1/embeddings``; all routes for embeddings accept Jina's fields."""

from millpond_server.apis.openai.schemas import EmbeddingRequest


class JinaEmbeddingRequest(EmbeddingRequest):
    """Texts or images to embed."""
