"""The routes of Infinity, where its answers are of another shape than those of others."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from millpond_server.protocol.common import Inputs, TextOptions
from millpond_server.protocol.embeddings import EmbeddingRequest


class InfinityEmbeddingRequest(EmbeddingRequest):
    """Texts or token ids that become vectors; 0 dimensions are all, which is what Infinity's client says by default."""

    @field_validator("dimensions", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        return None if value == 0 and isinstance(value, int) and not isinstance(value, bool) else value


class InfinityRerankRequest(TextOptions):
    """A query and the documents that it ranks."""

    query: str
    documents: list[str]
    return_documents: bool = False
    raw_scores: bool = False
    top_n: Annotated[int, Field(ge=1)] | None = None


class InfinityClassifyRequest(TextOptions, Inputs):
    """Texts whose classes are wanted."""

    raw_scores: bool = False


def usage(tokens: int) -> dict[str, Any]:
    """The tokens that were read."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}
