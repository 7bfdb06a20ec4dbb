"""The similarity of vectors."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    """Normalise vectors to length 1, [count, dim]."""
    normalised: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalised


def cosines(one: Vectors, other: Vectors) -> Vectors:
    """Return the cosine of each pair of vectors, [count]."""
    products: Vectors = (unit(one) * unit(other)).sum(axis=1)
    return products
