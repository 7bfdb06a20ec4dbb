"""The op ``normalize``: each vector divided by its Euclidean length, in float32."""

import torch
from torch import Tensor

SMALLEST_NORM = 1e-12  # that of torch.nn.functional.normalize, and so of sentence-transformers


def normalize_torch(x: Tensor) -> Tensor:
    """[..., dim] -> [..., dim], float32, in plain torch; a vector shorter than ``SMALLEST_NORM`` is divided by that."""
    x = x.float()
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / lengths.clamp_min(SMALLEST_NORM)
