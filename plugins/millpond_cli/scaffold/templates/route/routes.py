"""The handler of POST /v1/addon_name, with its request and response."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field


class AddonNameRequest(BaseModel):
    """The body of a request."""

    model: str | None = None
    texts: list[str] = Field(min_length=1, max_length=256)


class AddonNameResponse(BaseModel):
    """The body of a response: the cosine similarity of text i and text j."""

    similarities: list[list[float]]


async def addon_name(request: AddonNameRequest, llm: Any, call: Any) -> AddonNameResponse:
    """Return the cosine similarities of all pairs of texts."""
    outputs = await llm.embed(request.texts, priority=call.priority)
    vectors = np.stack([output.outputs.array for output in outputs])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return AddonNameResponse(similarities=(vectors @ vectors.T).tolist())
