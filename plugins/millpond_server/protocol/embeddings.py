"""``POST /v1/embeddings``, as OpenAI has it, with what vLLM adds."""

from typing import Any, Literal

from pydantic import BaseModel

from millpond_server.protocol.common import Inputs, Usage, VectorOptions


class EmbeddingRequest(VectorOptions, Inputs):
    """Texts, token ids or images that become vectors.

    Attributes:
        mixed: What becomes of an input with a text and an image: refused, or the mean of both vectors.
        task: What the texts are for, as Jina has it: the model's prompt of that name, or of that meaning, is put before
            them, and its adapter of that name computes them; without effect on models that have neither.
    """

    task: str | None = None
    mixed: Literal["error", "mean"] | None = None


class EmbeddingItem(BaseModel):
    """One vector."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class EmbeddingResponse(BaseModel):
    """All vectors, in the order of the inputs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EmbeddingItem]
    usage: Usage


def usage_of(tokens: int) -> dict[str, Any]:
    """The tokens that were read, as clients look for them."""
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
