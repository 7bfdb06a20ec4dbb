"""BERT's post-norm encoder layer: self-attention, then a feed-forward network, each with a residual and LayerNorm."""

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Attention, Linear, PackedBatch
from millpond_modeling.distance_bias import DistanceBias
from millpond_models.layers.feed_forward import FeedForward
from millpond_models.layers.head_dim import head_dim as default_head_dim
from millpond_models.layers.norm import ResidualLayerNorm
from millpond_models.layers.rotary import Rotation


class FeedForwardProtocol(Protocol):
    """A feed-forward network that leaves its last bias to the following norm, which adds it."""

    @property
    def last_bias(self) -> Tensor | None:
        """[size], or None."""

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the last bias."""
        ...


class SelfAttention(nn.Module):
    """Self-attention, bidirectional unless ``causal``, with one fused projection of query, key and value.

    Args:
        ctx: The model's context.
        size: Hidden size.
        num_heads: Number of heads.
        head_dim: Dimensions of each head; None for ``size // num_heads``.
        bias: True if the projections have a bias.
        causal: True if a token attends only to itself and earlier tokens.
        position_bias: True if a position bias is added to the scores.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        num_heads: int,
        head_dim: int | None = None,
        bias: bool = True,
        causal: bool = False,
        position_bias: bool = False,
    ) -> None:
        super().__init__()
        head_dim = default_head_dim(size, num_heads) if head_dim is None else head_dim
        inner = num_heads * head_dim
        self.num_heads, self.head_dim = num_heads, head_dim
        self.qkv = Linear(ctx, size, inner, inner, inner, bias=bias)
        self.attention = Attention(ctx, head_dim=head_dim, causal=causal, bias="distance" if position_bias else None)
        self.output = Linear(ctx, inner, size, bias=bias)

    def forward(
        self,
        hidden_states: Tensor,
        batch: PackedBatch,
        rotation: Rotation | None = None,
        distance_bias: DistanceBias | None = None,
    ) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``output``."""
        query, key, value = self.heads(hidden_states)
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        attended: Tensor = self.output(self.attention(query, key, value, batch, distance_bias), add_bias=False)
        return attended

    def heads(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[num_tokens, size] -> query, key and value, [num_tokens, num_heads, head_dim] each."""
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        return query, key, value


class PostNormEncoderLayer(nn.Module):
    """``x = norm(x + attention(x)); x = norm(x + feed_forward(x))``, by the op ``encoder_layer`` where possible."""

    def __init__(
        self, ctx: Context, *, attention: SelfAttention, feed_forward: FeedForwardProtocol, size: int, eps: float
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = ResidualLayerNorm(ctx, size, eps)
        self.feed_forward = feed_forward
        self.feed_forward_norm = ResidualLayerNorm(ctx, size, eps)
        plain = type(attention) is SelfAttention and type(feed_forward) is FeedForward
        self.op = ctx.op("encoder_layer") if plain else None

    def forward(
        self,
        hidden_states: Tensor,
        batch: PackedBatch,
        rotation: Rotation | None = None,
        distance_bias: DistanceBias | None = None,
    ) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size].

        Args:
            hidden_states: Hidden states.
            batch: The packed batch.
            rotation: Rotary embedding of queries and keys; None for none.
            distance_bias: Position bias of the attention scores; None for none.
        """
        kernel = self.kernel if rotation is None and distance_bias is None else None
        if kernel is not None:
            return kernel(hidden_states, batch)
        attended = self.attention(hidden_states, batch, rotation, distance_bias)
        hidden_states = self.attention_norm(attended, self.attention.output.bias, hidden_states)
        normed: Tensor = self.feed_forward_norm(
            self.feed_forward(hidden_states), self.feed_forward.last_bias, hidden_states
        )
        return normed

    @cached_property
    def kernel(self) -> Callable[[Tensor, PackedBatch], Tensor] | None:
        """The kernel of the op ``encoder_layer``, built after the weights are loaded; None for customised layers."""
        attention, feed_forward = self.attention, self.feed_forward
        if self.op is None or not isinstance(feed_forward, FeedForward) or feed_forward.kernel is None:
            return None
        kernel: Callable[[Tensor, PackedBatch], Tensor] = self.op(
            qkv=attention.qkv,
            attention=attention.attention,
            output=attention.output,
            feed_forward=feed_forward.kernel,
            norm=self.attention_norm.kernel,
            attention_norm=self.attention_norm.arguments(attention.output.bias),
            feed_forward_norm=self.feed_forward_norm.arguments(feed_forward.last_bias),
            num_heads=attention.num_heads,
        )
        return kernel
