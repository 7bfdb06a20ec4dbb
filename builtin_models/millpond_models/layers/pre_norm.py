"""The pre-norm layer of towers of text and images: attention, then feed-forward, each added to its input."""

from torch import Tensor, nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Attention, Linear, PackedBatch
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.norm import LayerNorm


class PreNormLayer(nn.Module):
    """``x = x + attention(norm(x)); x = x + feed_forward(norm(x))``, of the sizes in the context's config.

    Args:
        ctx: The context of the tower.
        causal: Whether a token attends only to itself and what stands before it.
    """

    def __init__(self, ctx: Context, *, causal: bool) -> None:
        super().__init__()
        size, eps = ctx.config.hidden_size, float(ctx.config.layer_norm_eps)
        self.attention_norm = LayerNorm(size, eps)
        self.attention = TowerAttention(ctx, causal=causal)
        self.feed_forward_norm = LayerNorm(size, eps)
        self.feed_forward = TowerFeedForward(ctx)

    def forward(self, x: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        x = x + self.attention(self.attention_norm(x), batch)
        added: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return added


class TowerAttention(nn.Module):
    """Attention of a sequence to itself, with one fused map for query, key and value."""

    def __init__(self, ctx: Context, *, causal: bool) -> None:
        super().__init__()
        size, heads = ctx.config.hidden_size, ctx.config.num_attention_heads
        self.num_heads = checked_heads(size, heads)
        self.qkv = Linear(ctx, size, size, size, size)
        self.attention = Attention(ctx, head_dim=size // heads, causal=causal)
        self.output = Linear(ctx, size, size)

    def forward(self, x: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        attended: Tensor = self.output(self.attention(query, key, value, batch))
        return attended


class TowerFeedForward(nn.Module):
    """``down(activation(up(x)))``."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        size, inner = ctx.config.hidden_size, ctx.config.intermediate_size
        self.up = Linear(ctx, size, inner)
        self.down = Linear(ctx, inner, size)
        self.activation = hidden_activation(ctx, ctx.config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        result: Tensor = self.down(self.activation(self.up(x)))
        return result


def checked_heads(size: int, heads: int) -> int:
    """The number of heads.

    Raises:
        CheckpointError: If hidden states cannot be shared among them.
    """
    if heads < 1 or size % heads:
        message = f"config.json: hidden_size {size} cannot be shared among num_attention_heads {heads}"
        raise CheckpointError(message)
    return heads
