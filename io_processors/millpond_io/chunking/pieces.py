"""Chunked processing of long prompts: slices of token ids, and the mean of their vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_NORM = 1e-12  # as in the activation ``normalize``


def slices(input_ids: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Split token ids into slices of ``size`` tokens; the last may be shorter. No tokens are added."""
    return [input_ids[start : start + size] for start in range(0, len(input_ids), size)]


def merged(vectors: Sequence[NDArray[np.float32]], counts: Sequence[int], *, renormalize: bool) -> NDArray[np.float32]:
    """Return the mean of the vectors of slices, weighted by their numbers of tokens.

    Args:
        vectors: The vector of each slice, [dim].
        counts: The number of pooled tokens of each slice.
        renormalize: True to normalize the mean to length 1.

    Returns:
        The vector of the whole prompt, [dim].
    """
    weights = np.asarray(counts, dtype=np.float32)
    mean = (np.stack(vectors).astype(np.float32) * weights[:, None]).sum(axis=0) / weights.sum()
    if renormalize:
        mean = mean / max(float(np.linalg.norm(mean)), MIN_NORM)
    vector: NDArray[np.float32] = mean.astype(np.float32)
    return vector
