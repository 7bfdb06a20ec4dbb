"""The modules of Reef: TideGate after pooling, and Drift before it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.loading.weights import ModuleWeights
from millpond.nn import PackedBatch, TokenModule


class TideGate(nn.Module):
    """Multiplies the first dimensions of a vector by a learned vector and drops the others."""

    def __init__(self, ctx: Context, config: Mapping[str, Any], weights: ModuleWeights) -> None:
        super().__init__()
        del ctx
        self.out_features: int = config["kept"]
        self.gate = nn.Parameter(weights.get("gate", [self.out_features]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, kept]."""
        return x[..., : self.out_features] * self.gate


class Drift(TokenModule):
    """Subtracts the vector of the first token of a text from all its tokens."""

    def __init__(self, ctx: Context, config: Mapping[str, Any], weights: ModuleWeights) -> None:
        super().__init__()
        del ctx, config, weights

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, hidden] -> [num_tokens, hidden]."""
        texts = hidden_states.split(list(batch.lengths))
        return torch.cat([rows - rows[0] for rows in texts])
