"""The routes of Infinity, where its answers are of another shape than those of others."""

from typing import Annotated, Any

from pydantic import Field

from millpond_server.protocol.common import Inputs, TextOptions


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
