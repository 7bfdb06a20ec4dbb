"""Classifiers that stand behind a model: hidden states to logits. Built with ``ctx.for_head()``, they are float32."""

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear


class TanhHead(nn.Module):
    """``output(tanh(dense(x)))``: the head that BERT and its relatives classify with."""

    def __init__(self, ctx: Context, *, size: int, num_labels: int) -> None:
        super().__init__()
        self.dense = Linear(ctx, size, size)
        self.output = Linear(ctx, size, num_labels)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, num_labels]."""
        logits: Tensor = self.output(torch.tanh(self.dense(x)))
        return logits
