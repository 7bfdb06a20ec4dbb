"""Similarity functions of sentence-transformers: cosine, dot product, and negative distances."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float32]"
Pairs: TypeAlias = Sequence[tuple[Array, Array]]
MAX_PAIRS_PER_BLOCK = 1024
MAX_VALUES_PER_BLOCK = 2**22  # limits the pairs per block for vectors with the size of a vocabulary
MIN_NORM = 1e-8  # as in torch.nn.functional.cosine_similarity; the similarity to a zero vector is 0


def cosines(queries: Array, documents: Array) -> Array:
    """Return the cosine of each pair of rows, [num_pairs, dim] twice -> [num_pairs]."""
    norms = np.linalg.norm(queries, axis=1) * np.linalg.norm(documents, axis=1)
    similarities: Array = dot_products(queries, documents) / np.maximum(norms, MIN_NORM)
    return similarities


def dot_products(queries: Array, documents: Array) -> Array:
    """Return the dot product of each pair of rows."""
    similarities: Array = np.einsum("ij,ij->i", queries, documents)
    return similarities


def euclidean(queries: Array, documents: Array) -> Array:
    """Return the negative Euclidean distance of each pair of rows."""
    similarities: Array = -np.linalg.norm(queries - documents, axis=1)
    return similarities


def manhattan(queries: Array, documents: Array) -> Array:
    """Return the negative Manhattan distance of each pair of rows."""
    similarities: Array = -np.abs(queries - documents).sum(axis=1)
    return similarities


def of_pairs(compare: Callable[[Array, Array], Array]) -> Callable[[Pairs], Iterator[float]]:
    """Return the similarity function for pairs of vectors, [dim] each, which are copied one block at a time."""

    def compare_pairs(pairs: Pairs) -> Iterator[float]:
        size = max((query.size for query, _ in pairs), default=1)
        block_size = max(min(MAX_PAIRS_PER_BLOCK, MAX_VALUES_PER_BLOCK // max(size, 1)), 1)
        for start in range(0, len(pairs), block_size):
            block = pairs[start : start + block_size]
            queries, documents = np.stack([query for query, _ in block]), np.stack([document for _, document in block])
            yield from compare(queries, documents).tolist()

    return compare_pairs


SIMILARITIES: Mapping[str, Callable[[Pairs], Iterator[float]]] = MappingProxyType(
    {
        "cosine": of_pairs(cosines),
        "dot": of_pairs(dot_products),
        "euclidean": of_pairs(euclidean),
        "manhattan": of_pairs(manhattan),
    }
)
