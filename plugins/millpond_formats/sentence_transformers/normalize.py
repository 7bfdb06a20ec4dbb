"""The Normalize module of sentence-transformers, followed by other modules."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights


class Normalized(nn.Module):
    """Divides vectors by their Euclidean length."""

    def __init__(self, ctx: "Context") -> None:
        super().__init__()
        self.normalize = ctx.activation("normalize")

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size]."""
        return self.normalize(x)


def load_normalize(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> Normalized:
    """Build the module, which has no weights."""
    del config, weights
    return Normalized(ctx)
