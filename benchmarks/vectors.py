"""How alike vectors are."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    """The same directions, each of length 1, [count, dim]."""
    found: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def cosines(one: Vectors, other: Vectors) -> Vectors:
    """The cosine of each vector of one with its partner in the other, [count]."""
    found: Vectors = (unit(one) * unit(other)).sum(axis=1)
    return found
