"""Pre-norm decoder layers: self-attention with rotary embeddings, then a gated feed-forward network.

Several query heads may share a key and value head (grouped-query attention, Ainslie et al., 2023, arXiv 2305.13245).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Attention, Linear, PackedBatch
from millpond.types.errors import CheckpointError
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.rms_norm import RMSNorm
from millpond_models.layers.rotary import Rotation


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Number of query heads, number of key and value heads, and the dimensions of each."""

    num_query_heads: int
    num_kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        """Raise CheckpointError if query heads cannot be shared evenly among key heads."""
        if min(self.num_query_heads, self.num_kv_heads, self.head_dim) < 1 or self.num_query_heads % self.num_kv_heads:
            message = (
                f"config.json: num_attention_heads {self.num_query_heads} must be a positive multiple of "
                f"num_key_value_heads {self.num_kv_heads}, and head_dim {self.head_dim} must be positive"
            )
            raise CheckpointError(message)


class RotaryAttention(nn.Module):
    """Self-attention with one fused projection of query, key and value.

    Args:
        ctx: The model's context.
        size: Hidden size.
        heads: Number and size of the heads.
        causal: True if a token attends only to itself and earlier tokens.
        window: Number of tokens attended to on each side; None for all.
        bias: True if the query, key and value projections have a bias.
        output_bias: True if the output projection has a bias.
        query_norm: Norm applied to each query head before rotation; None for no norm.
        key_norm: The same for key heads.
        scale: Factor of the attention scores; None for ``head_dim ** -0.5``.
        softcap: Cap of the scaled scores, ``softcap * tanh(score / softcap)``; None for no cap.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        heads: Heads,
        causal: bool,
        window: int | None = None,
        bias: bool = False,
        output_bias: bool = False,
        query_norm: RMSNorm | None = None,
        key_norm: RMSNorm | None = None,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        inner = heads.num_query_heads * heads.head_dim
        self.qkv = Linear(ctx, size, inner, *[heads.num_kv_heads * heads.head_dim] * 2, bias=bias)
        self.query_norm = query_norm
        self.key_norm = key_norm
        self.attention = Attention(
            ctx, head_dim=heads.head_dim, causal=causal, window=window, scale=scale, softcap=softcap
        )
        self.output = Linear(ctx, inner, size, bias=output_bias)

    def forward(self, hidden_states: Tensor, rotation: Rotation, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        counts = (self.heads.num_query_heads, self.heads.num_kv_heads, self.heads.num_kv_heads)
        query, key, value = self.qkv(hidden_states).unflatten(-1, (-1, self.heads.head_dim)).split(counts, dim=1)
        query = query if self.query_norm is None else self.query_norm(query)
        key = key if self.key_norm is None else self.key_norm(key)
        attended: Tensor = self.output(self.attention(rotation(query), rotation(key), value, batch))
        return attended


class DecoderLayer(nn.Module):
    """``x = x + attention(norm(x)); x = x + feed_forward(norm(x))``."""

    def __init__(
        self,
        *,
        attention_norm: nn.Module,
        attention: RotaryAttention,
        feed_forward_norm: nn.Module,
        feed_forward: GatedFeedForward,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward

    def forward(self, hidden_states: Tensor, rotation: Rotation, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        hidden_states = hidden_states + self.attention(self.attention_norm(hidden_states), rotation, batch)
        added: Tensor = hidden_states + self.feed_forward(self.feed_forward_norm(hidden_states))
        return added


class NormedDecoderLayer(DecoderLayer):
    """Pre-norm and post-norm: ``x = x + norm(attention(norm(x))); x = x + norm(feed_forward(norm(x)))``."""

    def __init__(
        self,
        *,
        attention_norm: nn.Module,
        attention: RotaryAttention,
        attention_post_norm: nn.Module,
        feed_forward_norm: nn.Module,
        feed_forward: GatedFeedForward,
        feed_forward_post_norm: nn.Module,
    ) -> None:
        super().__init__(
            attention_norm=attention_norm,
            attention=attention,
            feed_forward_norm=feed_forward_norm,
            feed_forward=feed_forward,
        )
        self.attention_post_norm = attention_post_norm
        self.feed_forward_post_norm = feed_forward_post_norm

    def forward(self, hidden_states: Tensor, rotation: Rotation, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        hidden_states = hidden_states + self.attention_post_norm(
            self.attention(self.attention_norm(hidden_states), rotation, batch)
        )
        added: Tensor = hidden_states + self.feed_forward_post_norm(
            self.feed_forward(self.feed_forward_norm(hidden_states))
        )
        return added
