"""The op ``encoder_layer``: ``x = norm(x + attention(x)); x = norm(x + feed_forward(x))``, one op at a time."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn import Attention, PackedBatch
    from millpond_kernels.feed_forward.reference import FeedForwardReference

    Linear = Callable[..., Tensor]


class Norm(NamedTuple):
    """The arguments of ``layer_norm_residual``, except x and the residual.

    Attributes:
        bias: The bias of the preceding linear layer, [size], or None.
        weight: [size].
        shift: [size].
        eps: Added to the variance.
    """

    bias: "Tensor | None"
    weight: "Tensor"
    shift: "Tensor"
    eps: float


class EncoderLayerReference:
    """A post-norm encoder layer, one op at a time. All kernels of the op have this interface.

    Args:
        qkv: The linear layer whose outputs are queries, then keys, then values.
        attention: An ``Attention``.
        output: The linear layer after attention; ``attention_norm`` adds its bias.
        feed_forward: A constructed kernel of the op ``feed_forward``; ``feed_forward_norm`` adds its last bias.
        norm: A kernel of the op ``layer_norm_residual``.
        attention_norm: The arguments of ``norm`` after attention: bias or None, weight, shift and eps.
        feed_forward_norm: The arguments of ``norm`` after the feed-forward block.
        num_heads: The number of heads.
    """

    def __init__(
        self,
        *,
        qkv: "Linear",
        attention: "Attention",
        output: "Linear",
        feed_forward: "FeedForwardReference",
        norm: "Callable[..., Tensor]",
        attention_norm: "tuple[Tensor | None, Tensor, Tensor, float]",
        feed_forward_norm: "tuple[Tensor | None, Tensor, Tensor, float]",
        num_heads: int,
    ) -> None:
        self.qkv, self.attention, self.output, self.feed_forward = qkv, attention, output, feed_forward
        self.norm, self.num_heads = norm, num_heads
        self.attention_norm, self.feed_forward_norm = Norm(*attention_norm), Norm(*feed_forward_norm)

    def __call__(self, x: "Tensor", batch: "PackedBatch") -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        attended = self.output(self.attention(query, key, value, batch), add_bias=False)
        x = self._normed(attended, x, self.attention_norm)
        return self._normed(self.feed_forward(x), x, self.feed_forward_norm)

    def _normed(self, x: "Tensor", residual: "Tensor", norm: Norm) -> "Tensor":
        bias = x.new_zeros(x.shape[-1]) if norm.bias is None else norm.bias
        return self.norm(x, bias, residual, norm.weight, norm.shift, norm.eps)
