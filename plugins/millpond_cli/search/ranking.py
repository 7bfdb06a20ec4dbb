"""Ranking: the passages with the most similar vectors, and their order by a reranker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from millpond_cli.io.rows import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millpond.llm import LLM

    Array = NDArray[np.float32]

ROWS_PER_BLOCK = 65536  # bounds the memory of distances
MIN_NORM = 1e-8


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A passage that was found.

    Attributes:
        row: The passage.
        score: The score of the reranker, or the similarity without one.
        similarity: The similarity of the vectors of query and passage.
    """

    row: Row
    score: float
    similarity: float


def similarities(kind: str, query: "Array", vectors: "Array") -> "Array":
    """Return the similarity of a query, [dim], and each vector, [n, dim] -> [n].

    Args:
        kind: "cosine", "dot", or "euclidean" or "manhattan" for the negated distance.
        query: The vector of the query.
        vectors: The vectors of passages.
    """
    blocks = [
        _block(kind, query, vectors[start : start + ROWS_PER_BLOCK]) for start in range(0, len(vectors), ROWS_PER_BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _block(kind: str, query: "Array", vectors: "Array") -> "Array":
    if kind == "euclidean":
        scores: Array = -np.linalg.norm(vectors - query, axis=1)
    elif kind == "manhattan":
        scores = -np.abs(vectors - query).sum(axis=1)
    else:
        scores = vectors @ query
    if kind == "cosine":
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        scores = scores / np.maximum(norms, MIN_NORM)
    return scores


def best(scores: "Array", count: int) -> list[int]:
    """Return the positions of the highest scores, best first; equal scores keep their order, and NaN is left out."""
    order: list[int] = np.argsort(-scores, kind="stable")[:count].tolist()  # NaN is last
    return [position for position in order if not np.isnan(scores[position])]


def reranked(hits: Sequence[Hit], query: str, reranker: "LLM") -> list[Hit]:
    """Return passages in the order of the scores of a reranker."""
    if not hits:
        return []
    outputs = reranker.score(query, [hit.row.text for hit in hits], use_tqdm=False, truncate_prompt_tokens=-1)
    scored = [replace(hit, score=output.outputs.score) for hit, output in zip(hits, outputs, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)
