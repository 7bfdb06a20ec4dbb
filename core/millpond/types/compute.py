"""ComputeOptions: kernels, quantization and batch invariance of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BFLOAT16_WEIGHTS = "bfloat16"  # the scheme of models whose weights are in bfloat16, and everything else in float32


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Options of the computation of a model.

    Attributes:
        kernels: The variants of ops that the user chose, such as ``{"attention": "sdpa"}``.
        quantization: The scheme of the model's linear layers, such as "int8"; None for none. Poolers and heads are not
            quantized.
        batch_invariant: True if the bits of a result must not depend on other prompts of its batch.
    """

    kernels: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    batch_invariant: bool = False
