"""Classifiers that stand behind a model: hidden states to logits. Built with ``ctx.for_head()``, they are float32."""

from collections.abc import Callable

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear


class DenseHead(nn.Module):
    """``output(activation(dense(x)))``, of which the dense map keeps the size."""

    def __init__(self, ctx: Context, *, size: int, num_labels: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense = Linear(ctx, size, size)
        self.activation = activation
        self.output = Linear(ctx, size, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, num_labels]."""
        logits: Tensor = self.output(self.activation(self.dense(x)))
        return logits
