"""ModernBERT's classification head. Built with ``ctx.for_head()``, it computes in float32."""

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.norm import LayerNorm


class Float32LayerNorm(LayerNorm):
    """LayerNorm with float32 parameters, independent of the model's dtype."""

    dtype = torch.float32


class NormHead(nn.Module):
    """``output(norm(activation(dense(x))))``."""

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        num_labels: int,
        activation: str,
        dense_bias: bool,
        norm_bias: bool,
        eps: float,
    ) -> None:
        super().__init__()
        self.dense = Linear(ctx, size, size, bias=dense_bias)
        self.activation = hidden_activation(ctx, activation)
        self.norm = Float32LayerNorm(size, eps, bias=norm_bias)
        self.output = Linear(ctx, size, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, num_labels]."""
        logits: Tensor = self.output(self.norm(self.activation(self.dense(x))))
        return logits
