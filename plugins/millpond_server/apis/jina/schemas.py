"""``POST /v1/embeddings`` as Jina has it: all that its clients say, other clients may say too."""

from millpond_server.apis.openai.schemas import EmbeddingRequest


class JinaEmbeddingRequest(EmbeddingRequest):
    """Texts or images that become vectors."""
