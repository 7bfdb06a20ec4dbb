"""Attention: query, key, value and a packed batch, through the op ``attention``."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.nn.batch import PackedBatch

NUM_ATTENDED = "num_attended"  # the feature of a sequence that says how many of its tokens are attended to


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
        if batch.features:
            self._hide(output, query, key, value, batch)
        return output.flatten(1)

    def _hide(self, output: Tensor, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> None:
        """Compute anew the sequences of which only the first tokens are attended to: queries, few and short."""
        for start, stop, features in zip(batch.offsets, batch.offsets[1:], batch.features, strict=False):
            seen = features.get(NUM_ATTENDED)
            if not isinstance(seen, int):
                continue
            places = torch.arange(stop - start, device=query.device)
            distance = places.unsqueeze(1) - places[:seen]
            allowed = torch.ones_like(distance, dtype=torch.bool)
            if self.spec.causal:
                allowed &= distance >= 0
            if self.spec.window is not None:
                allowed &= distance.abs() <= self.spec.window
            found = functional.scaled_dot_product_attention(
                query[start:stop].transpose(0, 1),
                key[start : start + seen].transpose(0, 1),
                value[start : start + seen].transpose(0, 1),
                attn_mask=allowed,
                scale=self.spec.scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            output[start:stop] = found.transpose(0, 1)
