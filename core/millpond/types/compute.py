"""ComputeOptions: how a model computes, as far as the caller chooses it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How a model computes.

    Attributes:
        kernels: The variants of ops that the user chose, such as ``{"attention": "sdpa"}``.
        quantization: The scheme that the model's linear maps compute in, such as "int8"; None for none. What comes
            after the model, its poolers and heads, is not quantised.
        batch_invariant: True if a result must be the same to the bit whatever shares its batch.
    """

    kernels: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    batch_invariant: bool = False
