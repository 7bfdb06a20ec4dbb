"""Attention: query, key, value and a packed batch, through the op ``attention``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from millpond.compat.renamed import renamed_attributes, renamed_contents
from millpond.nn.batch import PackedBatch
from millpond.nn.bias import AttentionBias
from millpond.types.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from millpond.context import ModelContext

SOFTCAP = "softcap"
MASKED_TOKENS = "masked_tokens"
Kernel = Callable[..., Tensor]


@renamed_attributes(needs="required_features")
@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """What a kernel of the op ``attention`` must compute.

    Attributes:
        scale: What the products of query and key are multiplied with.
        causal: Whether a token attends only to itself and what stands before it.
        window: How many tokens it attends to on each side; None for all.
        softcap: Scaled products x become ``softcap * tanh(x / softcap)`` before anything is added; None for x.
        bias: Whether a call brings an ``AttentionBias``: "distance" for a ``DistanceBias``, "pair" for any other, whose
            numbers may be of the tokens themselves; None for none.
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

    Fewer heads of keys and values than of queries are shared by groups of query heads, in order. A token that may
    attend to none, because its window contains only masked tokens, gets zeros.
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
        # Only prompts show whether tokens are masked, so a kernel that does not support it is an error only then.
        self.masking_kernel = _masking_kernel(ctx, self.spec)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, bias: AttentionBias | None = None
    ) -> Tensor:
        """[num_tokens, heads, head_dim] thrice -> [num_tokens, heads * head_dim].

        Raises:
            InvalidInputError: If tokens are masked and the kernel that the user chose does not support it.
        """
        kernel = self._require_masking_kernel() if batch.num_masked else self.kernel
        biases = () if self.spec.bias is None else (bias,)
        return kernel(query, key, value, batch, self.spec, *biases).flatten(1)

    def _require_masking_kernel(self) -> Kernel:
        if isinstance(self.masking_kernel, str):
            message = f"prompts of which only the first tokens are attended to: {self.masking_kernel}"
            raise InvalidInputError(message)
        return self.masking_kernel


def _masking_kernel(ctx: "ModelContext", spec: AttentionSpec) -> Kernel | str:
    """Return the kernel for batches with masked tokens, or the reason that none is available."""
    try:
        return ctx.op("attention", required_features=(*spec.required_features, MASKED_TOKENS))
    except UnknownNameError as error:
        return str(error)


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = renamed_contents(__name__, {"HIDDEN_TOKENS": "MASKED_TOKENS"})
