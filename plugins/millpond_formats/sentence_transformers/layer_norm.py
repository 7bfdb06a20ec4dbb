"""The LayerNorm module of sentence-transformers, after Pooling."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights

EPS = 1e-5  # the default of torch.nn.LayerNorm


class PooledLayerNorm(nn.Module):
    """LayerNorm of pooled vectors, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.in_features = self.out_features = len(weight)
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size]."""
        return functional.layer_norm(x, (self.in_features,), self.weight, self.bias, EPS)


def load_layer_norm(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> PooledLayerNorm:
    """Load the module.

    Raises:
        CheckpointError: If the weights are missing or do not match its config.
    """
    del ctx
    size = config.get("dimension")
    return PooledLayerNorm(weights.get("norm.weight", [size]), weights.get("norm.bias", [size]))
