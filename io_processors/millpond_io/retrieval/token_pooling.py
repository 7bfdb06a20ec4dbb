"""Token pooling: vectors of similar tokens are replaced by their mean (Clavié et al. 2024, arXiv 2409.14683)."""

from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from millpond.types.errors import MissingDependencyError
from millpond.types.late_interaction import TokenPooling
from millpond_command.extras import install_command

POOL_FACTOR = "pool_factor"
MIN_NORM = 1e-12
Vectors = NDArray[np.float32]


def pooling_of(factor: float | None, model_pooling: TokenPooling | None) -> TokenPooling | None:
    """Return the token pooling for the ``pool_factor`` of a call; by default, that of the model.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """
    if factor is None:
        return model_pooling
    load_clustering()  # report a missing dependency before the model runs
    return TokenPooling(factor=float(factor))


def pooled(vectors: Vectors, pooling: TokenPooling) -> Vectors:
    """Pool the vectors of a document, [num_tokens, dim]: the first ones, and one mean per cluster.

    Clusters are computed by Ward's method for the distances 1 - cosine, and have scipy's order, as in
    sentence-transformers.
    """
    kept, rest = vectors[: pooling.protected], vectors[pooling.protected :]
    count = max(int(len(rest) // pooling.factor), 1)
    if count < len(rest):
        clusters = ward_clusters(np.clip(1 - rest @ rest.T, 0, 2).astype(np.float64), count)
        _, cluster_of_token, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
        sums = np.zeros((len(sizes), rest.shape[1]), dtype=np.float32)
        np.add.at(sums, cluster_of_token, rest)
        rest = sums / sizes.astype(np.float32)[:, None]
    means: Vectors = np.concatenate([kept, rest])
    if pooling.normalizes:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), MIN_NORM)
    return means


def ward_clusters(distances: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the cluster of each point by Ward's method, [num_points].

    The number of clusters can be smaller than ``count`` if several merges have the same distance.

    Args:
        distances: The distances of all pairs of points, [num_points, num_points].
        count: The maximum number of clusters, at least 1.
    """
    hierarchy = load_clustering()
    condensed = distances[np.triu_indices(len(distances), k=1)]
    clusters: NDArray[np.int64] = hierarchy.fcluster(hierarchy.linkage(condensed, "ward"), count, "maxclust")
    return clusters


def load_clustering() -> ModuleType:
    """Import scipy's module for clustering, which takes half a second.

    Raises:
        MissingDependencyError: If scipy is not installed.
    """
    try:
        return import_module("scipy.cluster.hierarchy")
    except ImportError as error:
        message = f"token pooling (pool_factor) requires scipy: {install_command('retrieval')}"
        raise MissingDependencyError(message, parameter=POOL_FACTOR) from error
