"""Long prompts in pieces: slices of token ids, and the vector of the whole from those of its slices."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SMALLEST_NORM = 1e-12  # that of the activation ``normalize``


def slices(input_ids: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Token ids cut into consecutive pieces of exactly ``size``; the last may be shorter. No token is added."""
    return [input_ids[start : start + size] for start in range(0, len(input_ids), size)]


def merged(vectors: Sequence[NDArray[np.float32]], counts: Sequence[int], *, renormalize: bool) -> NDArray[np.float32]:
    """The mean of the vectors of some slices, weighted by their tokens.

    Args:
        vectors: One of each slice, each [dim].
        counts: The tokens that were pooled of each slice.
        renormalize: Whether the mean is brought to length 1.

    Returns:
        The vector of the whole, [dim].
    """
    weights = np.asarray(counts, dtype=np.float32)
    mean = (np.stack(vectors).astype(np.float32) * weights[:, None]).sum(axis=0) / weights.sum()
    if renormalize:
        mean = mean / max(float(np.linalg.norm(mean)), SMALLEST_NORM)
    found: NDArray[np.float32] = mean.astype(np.float32)
    return found
