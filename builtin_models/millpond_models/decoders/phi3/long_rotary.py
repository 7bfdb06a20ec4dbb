"""LongRoPE: one scaling factor per frequency, with separate factors for texts beyond the training length.

Follows Ding et al., 2024 (arXiv 2402.13753) as used in Phi-3; ``rope_type`` is "longrope", formerly "su".
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log, sqrt
from typing import Any

import torch
from torch import Tensor

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.layers.rotary import Rotary

ROPE_TYPES = ("longrope", "su")
ROPE_KEYS = ("rope_parameters", "rope_scaling")


class LongRotary(Rotary):
    """Computes the rotation of a batch, with short or long factors by the length of each sequence.

    Args:
        ctx: The model's context; config.json contains the factors.
        head_dim: Number of rotated dimensions per head.
    """

    def __init__(self, ctx: Context, *, head_dim: int) -> None:
        config, options = ctx.config, rope_options(ctx.config)
        super().__init__(without_scaling(ctx), head_dim=head_dim)
        longest = int(config.get("max_position_embeddings", 4096))
        self.trained = int(
            config.get("original_max_position_embeddings") or options.get("original_max_position_embeddings") or longest
        )
        self.long = self.frequencies / self._factors(options, "long_factor")
        self.frequencies = self.frequencies / self._factors(options, "short_factor")
        self.size = attention_factor(options, longest / self.trained, self.trained)

    @property
    def depends_on_length(self) -> bool:
        """True: sequences over the training length have other factors."""
        return True

    def _factors(self, options: Mapping[str, Any], name: str) -> Tensor:
        factors = options.get(name)
        size = len(self.frequencies)
        numbers = list(factors) if isinstance(factors, list | tuple) else []
        if len(numbers) != size or not all(isinstance(number, int | float) for number in numbers):
            message = f"config.json: rope_type 'longrope' requires {size} numbers {name!r}; got {factors!r}"
            raise CheckpointError(message)
        return torch.tensor(numbers, dtype=torch.float32, device=self.frequencies.device)

    def _frequencies(self, batch: PackedBatch) -> Tensor:
        """[head_dim // 2] for all tokens, or one row per token if a sequence exceeds the training length."""
        if batch.max_length <= self.trained:
            return self.frequencies
        rows = [
            (self.long if group.length > self.trained else self.frequencies).expand(group.count * group.length, -1)
            for group in batch.equal_length_groups
        ]
        return torch.cat(rows)


def rope_options(config: CheckpointConfig) -> dict[str, Any]:
    """Return the rotary parameters of config.json, from both keys."""
    options: dict[str, Any] = {}
    for key in ROPE_KEYS:
        options |= config.get(key) or {}
    return options


def without_scaling(ctx: Context) -> Context:
    """Return the context with unscaled frequencies that rotate all dimensions of a head."""
    kept = {"rope_theta": rope_options(ctx.config).get("rope_theta")}
    values = {**ctx.config.to_dict(), **dict.fromkeys((*ROPE_KEYS, "partial_rotary_factor")), ROPE_KEYS[0]: kept}
    return replace(ctx, config=CheckpointConfig(values))


def attention_factor(options: Mapping[str, Any], length_ratio: float, trained: int) -> float:
    """Return the factor of queries and keys: ``sqrt(1 + log(factor) / log(trained))``.

    Args:
        options: Rotary parameters of config.json; ``attention_factor`` and ``factor`` take precedence.
        length_ratio: Ratio of the maximum length to the training length.
        trained: Maximum length in training.
    """
    stated = options.get("attention_factor")
    if stated is not None:
        return float(stated)
    factor = float(options.get("factor") or length_ratio)
    return 1.0 if factor <= 1 else sqrt(1 + log(factor) / log(trained))
