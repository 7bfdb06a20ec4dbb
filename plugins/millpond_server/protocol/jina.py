"""``POST /v1/embeddings`` as Jina has it: what it says beside OpenAI's."""

from typing import Literal

from millpond_server.protocol.embeddings import EmbeddingRequest


class JinaEmbeddingRequest(EmbeddingRequest):
    """Texts that become vectors.

    Attributes:
        normalized: Whether vectors are normalised.
        embedding_type: The kind of vectors, or a list of one.
        truncate: Whether texts that are too long are cut.
    """

    normalized: bool | None = None
    embedding_type: Literal["float", "base64", "binary", "ubinary"] | list[str] | None = None
    truncate: bool = False
