"""Modules of a checkpoint before and after pooling: the base class of token modules, and the chain after pooling."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from millpond.nn.batch import PackedBatch


class TokenModule(nn.Module):
    """A module before pooling that reads the sequences of a batch, or the layers of the model."""

    def attach(self, model: nn.Module) -> None:
        """Keep references to parts of the loaded model that the module needs; none by default."""

    def forward(self, hidden_states: Tensor, batch: "PackedBatch") -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, out_features]."""
        raise NotImplementedError


class PostPooling(nn.Module):
    """The modules of a checkpoint after pooling, in float32.

    Attributes:
        rows: The modules that map pooled rows and token vectors; None if there are no such modules.
        sparse: The last module, which maps each pooled row to a sparse vector of features; None if it is missing.
    """

    def __init__(self, rows: Sequence[nn.Module], sparse: nn.Module | None = None) -> None:
        super().__init__()
        self.rows = nn.Sequential(*rows) if rows else None
        self.sparse = sparse
