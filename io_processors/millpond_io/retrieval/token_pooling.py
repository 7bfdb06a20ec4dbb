"""Fewer vectors for a document: those of tokens that mean alike become one (Clavié et al. 2024, arXiv 2409.14683)."""

from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from millpond.types.errors import MissingDependencyError
from millpond.types.late_interaction import TokenPooling

POOL_FACTOR = "pool_factor"
SMALLEST_NORM = 1e-12
Vectors = NDArray[np.float32]


def pooling_of(factor: float | None, own: TokenPooling | None) -> TokenPooling | None:
    """Return what is pooled: by the ``pool_factor`` of the call, else as the model's files state.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """
    if factor is None:
        return own
    load_clustering()  # here, where no results wait for it
    return TokenPooling(factor=float(factor))


def pooled(vectors: Vectors, pooling: TokenPooling) -> Vectors:
    """The vectors of a document, [num_tokens, dim], as fewer: of each cluster the mean, in the order of first tokens.

    Clusters are those of Ward's method on the distances 1 - cosine.
    """
    kept, rest = vectors[: pooling.protected], vectors[pooling.protected :]
    count = max(int(len(rest) // pooling.factor), 1)
    if count < len(rest):
        owners = ward_clusters(np.clip(1 - rest @ rest.T, 0, 2).astype(np.float64), count)
        _, first, places = np.unique(owners, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        sums = np.zeros((len(first), rest.shape[1]), dtype=np.float32)
        np.add.at(sums, rank[places], rest)
        rest = sums / np.bincount(rank[places]).astype(np.float32)[:, None]
    found: Vectors = np.concatenate([kept, rest])
    if not pooling.normalizes:
        return found
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), SMALLEST_NORM)
    return found


def ward_clusters(distances: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the cluster of each point, [num_points], of so many clusters by Ward's method.

    They are fewer where more merges cost the same as the last that is needed.

    Args:
        distances: Those of all pairs of points, [num_points, num_points].
        count: How many clusters there are to be, from 1 on.
    """
    hierarchy = load_clustering()
    condensed = distances[np.triu_indices(len(distances), k=1)]
    clusters: NDArray[np.int64] = hierarchy.fcluster(hierarchy.linkage(condensed, "ward"), count, "maxclust")
    return clusters


def load_clustering() -> ModuleType:
    """Return scipy's module, which takes half a second to import.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return import_module("scipy.cluster.hierarchy")
    except ImportError as error:
        message = "fewer vectors of tokens (pool_factor) need scipy: pip install 'millpond[retrieval]'"
        raise MissingDependencyError(message, parameter=POOL_FACTOR) from error
