"""Attention over the sequences of a packed batch, computed by the op ``attention``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor, nn

from millpond.nn.batch import EqualLengthGroup, PackedBatch
from millpond.types.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from millpond.context import ModelContext

SOFTCAP = "softcap"
MASKED_TOKENS = "masked_tokens"
Kernel = Callable[..., Tensor]


class AttentionBias(Protocol):
    """Computes the values that attention adds to the scaled products before the softmax."""

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """Return the bias of a block of queries and keys, [count or 1, heads, queries, keys].

        Args:
            group: The sequences.
            queries: The positions of the queries in their sequences.
            keys: The positions of the keys in their sequences.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """The variant of attention that a kernel of the op ``attention`` must compute.

    Attributes:
        scale: The factor of the products of query and key.
        causal: True if a token attends only to itself and to earlier tokens.
        window: The number of tokens that a token attends to on each side; None for no limit.
        softcap: Scaled products x become ``softcap * tanh(x / softcap)`` before the bias is added; None for no cap.
        bias: The kind of ``AttentionBias`` that each call passes: "distance" for one that depends only on the head and
            the distance between the tokens, "pair" for one that may depend on the tokens; None for no bias.
    """

    scale: float
    causal: bool = False
    window: int | None = None
    softcap: float | None = None
    bias: Literal["distance", "pair"] | None = None

    @property
    def required_features(self) -> tuple[str, ...]:
        """The features that a kernel must have."""
        bias = () if self.bias is None else (f"{self.bias}_bias",)
        return bias if self.softcap is None else (SOFTCAP, *bias)


class Attention(nn.Module):
    """Scaled dot-product attention within each sequence of a packed batch.

    If there are fewer key and value heads than query heads, consecutive query heads share one (grouped-query
    attention). The result for a token whose window contains only masked tokens is zero.
    """

    def __init__(
        self,
        ctx: "ModelContext",
        *,
        head_dim: int,
        causal: bool = False,
        window: int | None = None,
        scale: float | None = None,
        softcap: float | None = None,
        bias: Literal["distance", "pair"] | None = None,
    ) -> None:
        super().__init__()
        self.spec = AttentionSpec(
            scale=head_dim**-0.5 if scale is None else scale, causal=causal, window=window, softcap=softcap, bias=bias
        )
        self.kernel: Kernel = ctx.op("attention", required_features=self.spec.required_features)
        # Tokens are masked only for some prompts, so a kernel that does not support it is an error only for those.
        self.masking_kernel = _masking_kernel(ctx, self.spec)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, bias: AttentionBias | None = None
    ) -> Tensor:
        """Query, key and value [num_tokens, heads, head_dim] -> [num_tokens, heads * head_dim].

        Raises:
            InvalidInputError: If tokens are masked but the kernel that the user chose does not support masking.
        """
        kernel = self._require_masking_kernel() if batch.num_masked else self.kernel
        biases = () if self.spec.bias is None else (bias,)
        shared = batch.shared
        if shared is None:
            return kernel(query, key, value, batch, self.spec, *biases).flatten(1)
        query, key, value = shared.expand(query, key, value)
        return shared.select(kernel(query, key, value, shared.complete, self.spec, *biases).flatten(1))

    def _require_masking_kernel(self) -> Kernel:
        if isinstance(self.masking_kernel, str):
            message = f"this prompt has masked tokens: {self.masking_kernel}"
            raise InvalidInputError(message)
        return self.masking_kernel


def _masking_kernel(ctx: "ModelContext", spec: AttentionSpec) -> Kernel | str:
    """The kernel for batches with masked tokens, or the reason why none is available."""
    try:
        return ctx.op("attention", required_features=(*spec.required_features, MASKED_TOKENS))
    except UnknownNameError as error:
        return str(error)
