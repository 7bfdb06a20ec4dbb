"""The layer of jina-embeddings-v2-base-code: normalized queries and keys, and two norms after attention."""

from torch import Tensor

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond_modeling.distance_bias import DistanceBias
from millpond_models.layers.encoder import FeedForwardProtocol, PostNormEncoderLayer, SelfAttention
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.rotary import Rotation


class NormedSelfAttention(SelfAttention):
    """Self-attention with LayerNorm of queries and keys, over all heads of a token."""

    def __init__(self, ctx: Context, *, size: int, num_heads: int, eps: float, position_bias: bool) -> None:
        super().__init__(ctx, size=size, num_heads=num_heads, position_bias=position_bias)
        self.query_norm = LayerNorm(size, eps)
        self.key_norm = LayerNorm(size, eps)

    def heads(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[num_tokens, size] -> query, key and value; see ``SelfAttention``."""
        query, key, value = self.qkv(hidden_states).chunk(3, dim=-1)
        shape = (self.num_heads, -1)
        return (
            self.query_norm(query).unflatten(-1, shape),
            self.key_norm(key).unflatten(-1, shape),
            value.unflatten(-1, shape),
        )


class DoubleNormEncoderLayer(PostNormEncoderLayer):
    """``y = norm(x + norm(x + attention(x)))``, then ``norm(y + feed_forward(y))``."""

    def __init__(
        self, ctx: Context, *, attention: SelfAttention, feed_forward: FeedForwardProtocol, size: int, eps: float
    ) -> None:
        super().__init__(ctx, attention=attention, feed_forward=feed_forward, size=size, eps=eps)
        self.second_norm = LayerNorm(size, eps)

    def forward(
        self,
        hidden_states: Tensor,
        batch: PackedBatch,
        rotation: Rotation | None = None,
        distance_bias: DistanceBias | None = None,
    ) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; see ``PostNormEncoderLayer``."""
        attended = self.attention(hidden_states, batch, rotation, distance_bias)
        hidden_states = self.second_norm(
            hidden_states + self.attention_norm(attended, self.attention.output.bias, hidden_states)
        )
        normed: Tensor = self.feed_forward_norm(
            self.feed_forward(hidden_states), self.feed_forward.last_bias, hidden_states
        )
        return normed
