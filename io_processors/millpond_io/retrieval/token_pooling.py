"""Fewer vectors for a document: those of tokens that mean alike become one (Clavié et al. 2024, arXiv 2409.14683)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from millpond.types.errors import InvalidInputError
from millpond.types.late_interaction import TokenPooling

POOL_FACTOR = "pool_factor"
SMALLEST_NORM = 1e-12
Vectors = NDArray[np.float32]


def pooling_of(extra: Mapping[str, object], own: TokenPooling | None) -> TokenPooling | None:
    """What is pooled: as the call says by ``pool_factor``, else as the model's files say.

    Raises:
        InvalidInputError: If it is no number from 1 on.
    """
    factor = extra.get(POOL_FACTOR)
    if factor is None:
        return own
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < float("inf"):
        message = f"{POOL_FACTOR} must be a number from 1 on, 2 for half of the vectors; got {factor!r}"
        raise InvalidInputError(message, parameter=POOL_FACTOR)
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
    """Points in so many clusters by Ward's method: the cluster of each, [num_points].

    They are fewer where more merges cost the same as the last that is needed, as scipy's ``maxclust`` has it.

    Chains of nearest neighbours find all merges in a time that grows with the square of the points (Müllner 2011, arXiv
    1109.2378, section 3.2); the cheapest of them are done.

    Args:
        distances: Those of all pairs of points, [num_points, num_points]; overwritten.
        count: How many clusters there are to be, from 1 on.
    """
    merges = sorted(_merges(distances), key=lambda merge: merge[0])
    owners = np.arange(len(distances), dtype=np.int64)
    needed = len(distances) - count
    for place, (distance, one, other) in enumerate(merges):
        if place >= needed and (needed < 1 or distance > merges[needed - 1][0]):
            break
        owners[owners == owners[one]] = owners[other]
    return owners


def _merges(distances: NDArray[np.float64]) -> list[tuple[float, int, int]]:
    """Every merge of two clusters: its distance, and a point of each."""
    np.fill_diagonal(distances, np.inf)
    sizes = np.ones(len(distances))
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(merges) < len(distances) - 1:
        if not chain:
            chain.append(int(np.flatnonzero(sizes)[0]))
        last = chain[-1]
        nearest = int(np.argmin(distances[last]))
        before = chain[-2] if len(chain) > 1 else None
        if before is None or distances[last, nearest] < distances[last, before]:
            chain.append(nearest)
            continue
        merges.append((float(distances[last, before]), last, before))
        # Into the later one, as scipy does: of clusters that are equally near, their places decide.
        _merge(distances, sizes, min(last, before), max(last, before))
        del chain[-2:]
    return merges


def _merge(distances: NDArray[np.float64], sizes: NDArray[np.float64], one: int, other: int) -> None:
    """Let the second of two clusters be both (Lance and Williams 1967, with Ward's coefficients), the first none."""
    between, both = distances[one, other], sizes[one] + sizes[other]
    there = np.flatnonzero(sizes)
    there = there[(there != one) & (there != other)]
    squares = (
        (sizes[one] + sizes[there]) * distances[one, there] ** 2
        + (sizes[other] + sizes[there]) * distances[other, there] ** 2
        - sizes[there] * between**2
    ) / (both + sizes[there])
    updated = np.sqrt(np.maximum(squares, 0))
    distances[other, there] = distances[there, other] = updated
    distances[one, :] = distances[:, one] = np.inf
    sizes[one], sizes[other] = 0, both
