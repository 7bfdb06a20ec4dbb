"""The op ``encoder_layer``: ``x = norm(x + attention(x)); x = norm(x + feed_forward(x))``, by its parts one by one."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn import Attention, PackedBatch
    from millpond_kernels.feed_forward.reference import FeedForwardReference

    Linear = Callable[..., Tensor]


class Norm(NamedTuple):
    """The arguments of ``layer_norm_residual`` beside x and the residual.

    Attributes:
        bias: That of the linear map before, [size]; None for none.
        weight: [size].
        shift: [size].
        eps: Added to the variance.
    """

    bias: "Tensor | None"
    weight: "Tensor"
    shift: "Tensor"
    eps: float


class EncoderLayerReference:
    """A post-norm encoder layer, its parts one by one. Kernels of the op are built and called like this one.

    Args:
        qkv: The linear map to queries, keys and values, one after the other.
        attention: An ``Attention``.
        output: The linear map after attention; its bias is the first of ``attention_norm``.
        feed_forward: The feed-forward half, as a kernel of the op ``feed_forward`` that was built; the bias of its last
            map is the first of ``feed_forward_norm``.
        norm: A kernel of the op ``layer_norm_residual``.
        attention_norm: Its arguments after attention: bias or None, weight, shift and eps.
        feed_forward_norm: Those after the feed-forward half.
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
