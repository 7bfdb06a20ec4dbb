"""The pre-norm layer of GPT-2, CLIP and SigLIP: self-attention, then a feed-forward network."""

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Attention, Linear, PackedBatch
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.norm import LayerNorm


class PreNormLayer(nn.Module):
    """``x = x + attention(norm(x)); x = x + feed_forward(norm(x))``."""

    def __init__(self, *, size: int, eps: float, attention: "FusedAttention", feed_forward: "PlainFeedForward") -> None:
        super().__init__()
        self.attention_norm = LayerNorm(size, eps)
        self.attention = attention
        self.feed_forward_norm = LayerNorm(size, eps)
        self.feed_forward = feed_forward

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        hidden_states = hidden_states + self.attention(self.attention_norm(hidden_states), batch)
        added: Tensor = hidden_states + self.feed_forward(self.feed_forward_norm(hidden_states))
        return added


class FusedAttention(nn.Module):
    """Self-attention with one fused projection of query, key and value.

    Args:
        ctx: The model's context.
        size: Hidden size.
        heads: Number of heads.
        causal: True if a token attends only to itself and earlier tokens.
        scale: Factor of the attention scores; None for ``head_dim ** -0.5``.
    """

    def __init__(self, ctx: Context, *, size: int, heads: int, causal: bool, scale: float | None = None) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = Linear(ctx, size, size, size, size)
        self.attention = Attention(ctx, head_dim=head_dim(size, heads), causal=causal, scale=scale)
        self.output = Linear(ctx, size, size)

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        attended: Tensor = self.output(self.attention(query, key, value, batch))
        return attended


class PlainFeedForward(nn.Module):
    """``down(activation(up(x)))``."""

    def __init__(self, ctx: Context, *, size: int, inner_size: int, activation: str) -> None:
        super().__init__()
        self.up = Linear(ctx, size, inner_size)
        self.down = Linear(ctx, inner_size, size)
        self.activation = hidden_activation(ctx, activation)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        result: Tensor = self.down(self.activation(self.up(x)))
        return result


def encoder_layer(ctx: Context, *, causal: bool) -> PreNormLayer:
    """Build a layer of CLIP or SigLIP with the sizes in the config of the context."""
    size = ctx.config.hidden_size
    return PreNormLayer(
        size=size,
        eps=float(ctx.config.layer_norm_eps),
        attention=FusedAttention(ctx, size=size, heads=ctx.config.num_attention_heads, causal=causal),
        feed_forward=encoder_feed_forward(ctx),
    )


def encoder_feed_forward(ctx: Context) -> PlainFeedForward:
    """Build the feed-forward network of a layer of CLIP or SigLIP."""
    config = ctx.config
    return PlainFeedForward(
        ctx, size=config.hidden_size, inner_size=config.intermediate_size, activation=config.hidden_act
    )
