"""The op ``normalize``: vectors divided by their Euclidean norm, in float32."""

import torch
from torch import Tensor

MIN_NORM = 1e-12  # as in torch.nn.functional.normalize and sentence-transformers


def normalize_torch(x: Tensor) -> Tensor:
    """[..., dim] -> [..., dim], float32, in plain torch; norms below ``MIN_NORM`` count as ``MIN_NORM``."""
    x = x.float()
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norms.clamp_min_(MIN_NORM)
