"""A classification head of two linear layers. Built with ``ctx.for_head()``, it computes in float32."""

from collections.abc import Callable

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingMetadata


class DenseHead(nn.Module):
    """``output(activation(dense(x)))``, where ``dense`` keeps the size."""

    def __init__(self, ctx: Context, *, size: int, num_labels: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense = Linear(ctx, size, size)
        self.activation = activation
        self.output = Linear(ctx, size, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, num_labels]."""
        logits: Tensor = self.output(self.transform(x))
        return logits

    def transform(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size], the input of ``output``."""
        activated: Tensor = self.activation(self.dense(x))
        return activated


class PoolAfterDense(nn.Module):
    """Applies ``dense`` and the activation of a head to every token before pooling.

    The output layer is linear, so it commutes with the mean and is left to the wrapped pooler.
    """

    def __init__(self, head: DenseHead, pooler: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.pooler = pooler
        self.check = pooler.check

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden_size] -> [num_seqs, num_labels]."""
        pooled: Tensor | list[Tensor] = self.pooler(self.head.transform(hidden_states.float()), metadata)
        return pooled
