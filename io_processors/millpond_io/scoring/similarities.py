"""Similarities of two vectors, as in sentence-transformers: cosine, product, or the negative distance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float32]"
Pairs: TypeAlias = Sequence[tuple[Array, Array]]
PAIRS_AT_ONCE = 1024  # whose vectors are copied side by side,
VALUES_AT_ONCE = 2**22  # unless these are of the size of a vocabulary
SMALLEST_NORM = 1e-8  # as torch.nn.functional.cosine_similarity has it: a vector of zeros is like none


def cosines(queries: Array, documents: Array) -> Array:
    """Return the cosine of each pair of rows, [num_pairs, dim] twice -> [num_pairs]."""
    norms = np.linalg.norm(queries, axis=1) * np.linalg.norm(documents, axis=1)
    found: Array = products(queries, documents) / np.maximum(norms, SMALLEST_NORM)
    return found


def products(queries: Array, documents: Array) -> Array:
    """Return the product of each pair of rows."""
    found: Array = np.einsum("ij,ij->i", queries, documents)
    return found


def euclidean(queries: Array, documents: Array) -> Array:
    """Return the negative Euclidean distance of each pair of rows."""
    found: Array = -np.linalg.norm(queries - documents, axis=1)
    return found


def manhattan(queries: Array, documents: Array) -> Array:
    """Return the negative Manhattan distance of each pair of rows."""
    found: Array = -np.abs(queries - documents).sum(axis=1)
    return found


def of_pairs(compare: Callable[[Array, Array], Array]) -> Callable[[Pairs], Iterator[float]]:
    """Return the same similarity for pairs of vectors [dim], which are copied one block at a time."""

    def compared(pairs: Pairs) -> Iterator[float]:
        width = max((query.size for query, _ in pairs), default=1)
        many = max(min(PAIRS_AT_ONCE, VALUES_AT_ONCE // max(width, 1)), 1)
        for start in range(0, len(pairs), many):
            block = pairs[start : start + many]
            queries, documents = np.stack([query for query, _ in block]), np.stack([document for _, document in block])
            yield from compare(queries, documents).tolist()

    return compared


SIMILARITIES: Mapping[str, Callable[[Pairs], Iterator[float]]] = MappingProxyType(
    {
        "cosine": of_pairs(cosines),
        "dot": of_pairs(products),
        "euclidean": of_pairs(euclidean),
        "manhattan": of_pairs(manhattan),
    }
)
