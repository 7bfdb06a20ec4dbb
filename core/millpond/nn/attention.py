"""Attention: query, key, value and a packed batch, through the op ``attention``."""

from dataclasses import dataclass

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn.batch import PackedBatch


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """What a kernel of the op ``attention`` must compute.

    Attributes:
        scale: What the products of query and key are multiplied with.
        causal: Whether a token attends only to itself and what stands before it.
        window: How many tokens it attends to on each side; None for all.
    """

    scale: float
    causal: bool = False
    window: int | None = None


class Attention(nn.Module):
    """Scaled dot-product attention within each sequence of a packed batch.

    Fewer heads of keys and values than of queries are shared by groups of query heads, in order.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        head_dim: int,
        causal: bool = False,
        window: int | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.spec = AttentionSpec(scale=head_dim**-0.5 if scale is None else scale, causal=causal, window=window)
        self.kernel = ctx.op("attention")

    def forward(self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, heads, head_dim] thrice -> [num_tokens, heads * head_dim]."""
        output: Tensor = self.kernel(query, key, value, batch, self.spec)
        return output.flatten(1)
