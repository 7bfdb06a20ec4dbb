"""EncoderLayerParts: what a post-norm encoder layer is made of, for a kernel that may compute all of it in one go."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from millpond.nn.attention import AttentionSpec
from millpond.nn.batch import PackedBatch


@dataclass(frozen=True, kw_only=True)
class ResidualNormParts:
    """What ``layer_norm_residual`` is called with beside x and the residual; all [size], None for what is not there."""

    bias: Tensor | None
    weight: Tensor | None
    shift: Tensor | None
    eps: float


@dataclass(frozen=True, kw_only=True)
class EncoderLayerParts:
    """A layer ``x = norm(x + attention(x)); x = norm(x + down(gelu(up(x))))`` of self-attention.

    Attributes:
        qkv: The map to queries, keys and values, as a kernel of ``linear`` that was built; so are the other three.
        output: The map behind attention; its bias, as that of ``down``, is left to the norm.
        up: The first map of the feed-forward half.
        down: The second.
        num_heads: The heads.
        head_dim: The dimensions of each.
        spec: What attention computes.
        attention: The kernel of the op ``attention``.
        gelu: That of ``gelu``.
        norm: That of ``layer_norm_residual``.
        attention_norm: The norm behind attention.
        feed_forward_norm: The norm behind the feed-forward half.
    """

    qkv: Any
    output: Any
    up: Any
    down: Any
    num_heads: int
    head_dim: int
    spec: AttentionSpec
    attention: object
    gelu: object
    norm: object
    attention_norm: ResidualNormParts
    feed_forward_norm: ResidualNormParts


class WholeLayer(Protocol):
    """A layer that a kernel computes in one go."""

    def takes(self, batch: PackedBatch) -> bool:
        """Whether it computes that batch; else the parts are called one by one."""
        ...

    def __call__(self, x: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        ...
