"""The op ``normalize``: each vector divided by its Euclidean length, in float32."""

from torch import Tensor
from torch.nn import functional

SMALLEST_NORM = 1e-12  # that of torch.nn.functional.normalize, and so of sentence-transformers


def normalize_torch(x: Tensor) -> Tensor:
    """[..., dim] -> [..., dim], float32, in plain torch; a vector shorter than ``SMALLEST_NORM`` is divided by that."""
    return functional.normalize(x.float(), dim=-1, eps=SMALLEST_NORM)
