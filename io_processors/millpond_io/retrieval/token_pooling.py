"""PoolTokens: the step that replaces vectors of similar tokens by their mean (Clavié et al. 2024, arXiv 2409.14683)."""

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.types.errors import MissingDependencyError
from millpond.types.late_interaction import LateInteraction, TokenPooling
from millpond.types.outputs import PoolingOutput
from millpond_command.extras import install_command
from millpond_io.retrieval.input_types import input_type
from millpond_text.kinds import TextStep
from millpond_text.prompt import TextJob

POOL_FACTOR = "pool_factor"
MIN_NORM = 1e-12
Vectors = NDArray[np.float32]


class PoolTokens(TextStep):
    """Pools the token vectors of texts, if the call or the model specifies it."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        config: LateInteraction | None = None if ctx.tokenizer is None else ctx.model.retrieval.late_interaction
        self.by_type: dict[str | None, TokenPooling | None] = {}
        if config is not None:
            self.by_type = {"query": config.query.pooling, "document": config.document.pooling}
        if any(pooling is not None for pooling in self.by_type.values()):
            load_clustering()

    def of(self, options: Any) -> TokenPooling | None:
        """Return the token pooling of a call; None for none. For queries, only the setting of the model applies.

        Raises:
            MissingDependencyError: If scipy is not installed.
        """
        kind = input_type(options)
        model_pooling = self.by_type.get(kind)
        return model_pooling if kind == "query" else pooling_of(getattr(options, POOL_FACTOR, None), model_pooling)

    def on_output(self, output: PoolingOutput, job: TextJob) -> PoolingOutput:
        """Return the pooled vectors."""
        pooling = self.of(job.call.options)
        return output if pooling is None else type(output)(pooled(output.array, pooling))


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
