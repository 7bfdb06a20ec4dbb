"""The LayerNorm module of sentence-transformers, after Pooling."""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from millpond.loading.module_weights import ModuleWeights
from millpond_formats.sentence_transformers.module import Module

if TYPE_CHECKING:
    from millpond.context import Context

EPS = 1e-5  # of torch.nn.LayerNorm


class PooledLayerNorm(nn.Module):
    """LayerNorm of pooled vectors, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.in_features = self.out_features = len(weight)
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size]."""
        return functional.layer_norm(x, (self.in_features,), self.weight, self.bias, EPS)


def load_layer_norm(ctx: "Context", module: Module, *, allow_pickle: bool) -> PooledLayerNorm:
    """The module with its weights.

    Raises:
        CheckpointError: If they are missing, or do not fit its config.
    """
    tensors, size = ModuleWeights(module, ctx.device, allow_pickle=allow_pickle), module.config.get("dimension")
    return PooledLayerNorm(tensors.get("norm.weight", [size]), tensors.get("norm.bias", [size]))
