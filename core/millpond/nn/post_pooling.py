"""Modules of a checkpoint around pooling: those that read a batch of tokens, and the chain behind pooling."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from millpond.nn.batch import PackedBatch


class TokenModule(nn.Module):
    """A module before pooling that reads the tokens of a batch by their sequences, or the layers of the model."""

    def attach(self, model: nn.Module) -> None:
        """Take what is needed of the model, which has its weights; by default nothing."""

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        raise NotImplementedError


class PostPooling(nn.Module):
    """The modules of a checkpoint after pooling, in float32.

    Attributes:
        rows: Maps pooled rows, and vectors of tokens; None for none.
        sparse: Makes one sparse vector of features of each pooled row behind that; None for none.
    """

    def __init__(self, rows: Sequence[nn.Module], sparse: nn.Module | None = None) -> None:
        super().__init__()
        self.rows = nn.Sequential(*rows) if rows else None
        self.sparse = sparse
