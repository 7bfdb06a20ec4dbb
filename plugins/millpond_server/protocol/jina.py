"""``POST /v1/embeddings`` as Jina has it: what it says beside OpenAI's."""

from typing import Literal

from millpond_server.protocol.embeddings import EmbeddingRequest


class JinaEmbeddingRequest(EmbeddingRequest):
    """Texts that become vectors.

    Attributes:
        task: What the texts are for: the model's prompt of that name, or of that meaning, is put before them.
        normalized: Whether vectors are normalised.
        embedding_type: The kind of vectors, or a list of one.
        truncate: Whether texts that are too long are cut.
    """

    task: str | None = None
    normalized: bool | None = None
    embedding_type: Literal["float", "base64", "binary", "ubinary"] | list[str] | None = None
    truncate: bool = False
