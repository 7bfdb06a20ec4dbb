"""Classifiers that stand behind a model: hidden states to logits. Built with ``ctx.for_head()``, they are float32."""

from collections.abc import Callable

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingMetadata


class DenseHead(nn.Module):
    """``output(activation(dense(x)))``, of which the dense map keeps the size."""

    def __init__(self, ctx: Context, *, size: int, num_labels: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense = Linear(ctx, size, size)
        self.activation = activation
        self.output = Linear(ctx, size, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, num_labels]."""
        logits: Tensor = self.output(self.inner(x))
        return logits

    def inner(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size]: what goes into ``output``."""
        activated: Tensor = self.activation(self.dense(x))
        return activated


class Late(nn.Module):
    """A pooler before which the first half of a head is applied to every token.

    The mean of what ``output`` makes of tokens is what it makes of their mean, so it stands behind the pooling.
    """

    def __init__(self, head: DenseHead, pooler: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.pooler = pooler
        self.check = pooler.check

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, num_labels]."""
        pooled: Tensor | list[Tensor] = self.pooler(self.head.inner(hidden_states.float()), metadata)
        return pooled
