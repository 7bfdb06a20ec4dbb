"""TokenModule: the base class of modules of a checkpoint before pooling that read the sequences of a batch."""

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
