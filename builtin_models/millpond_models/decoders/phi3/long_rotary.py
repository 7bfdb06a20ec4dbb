"""LongRoPE: each frequency slower by a factor of its own, by others for texts longer than those of the training.

After Ding et al., 2024 (arXiv 2402.13753), as Phi-3 has it; config.json says "longrope", and said "su" before.
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

NAMES = ("longrope", "su")
KEYS = ("rope_parameters", "rope_scaling")


class LongRotary(Rotary):
    """Makes the rotation of a batch: each text is turned by the factors that are for its length.

    Args:
        ctx: The model's context; config.json says the factors.
        head_dim: The dimensions of a head that are turned.
    """

    def __init__(self, ctx: Context, *, head_dim: int) -> None:
        config, options = ctx.config, rope_options(ctx.config)
        super().__init__(plain(ctx), head_dim=head_dim)
        longest = int(config.get("max_position_embeddings", 4096))
        self.trained = int(
            config.get("original_max_position_embeddings") or options.get("original_max_position_embeddings") or longest
        )
        self.long = self.frequencies / self._factors(options, "long_factor")
        self.frequencies = self.frequencies / self._factors(options, "short_factor")
        self.size = attention_factor(options, longest / self.trained, self.trained)

    def _factors(self, options: Mapping[str, Any], name: str) -> Tensor:
        given = options.get(name)
        wanted = len(self.frequencies)
        numbers = list(given) if isinstance(given, list | tuple) else []
        if len(numbers) != wanted or not all(isinstance(one, int | float) for one in numbers):
            message = f"config.json: rope_type 'longrope' takes {wanted} numbers {name!r}; got {given!r}"
            raise CheckpointError(message)
        return torch.tensor(numbers, dtype=torch.float32, device=self.frequencies.device)

    def _frequencies(self, batch: PackedBatch) -> Tensor:
        """[head_dim // 2] for all tokens; if some text is longer than those of the training, a row for each."""
        if batch.max_length <= self.trained:
            return self.frequencies
        rows = [
            (self.long if group.length > self.trained else self.frequencies).expand(group.count * group.length, -1)
            for group in batch.equal_length_groups
        ]
        return torch.cat(rows)


def rope_options(config: CheckpointConfig) -> dict[str, Any]:
    """What config.json says of rotary positions, under either key."""
    found: dict[str, Any] = {}
    for key in KEYS:
        found |= config.get(key) or {}
    return found


def plain(ctx: Context) -> Context:
    """The context of a model whose frequencies are as they were before they were stretched; all of a head is turned."""
    kept = {"rope_theta": rope_options(ctx.config).get("rope_theta")}
    values = {**ctx.config.to_dict(), **dict.fromkeys((*KEYS, "partial_rotary_factor")), KEYS[0]: kept}
    return replace(ctx, config=CheckpointConfig(values))


def attention_factor(options: Mapping[str, Any], stretched: float, trained: int) -> float:
    """What queries and keys are multiplied with: ``sqrt(1 + log(factor) / log(trained))``.

    Args:
        options: What config.json says of rotary positions; its ``attention_factor`` and ``factor`` count more.
        stretched: How many times as long as those of the training texts may be.
        trained: The tokens of the longest text of the training.
    """
    given = options.get("attention_factor")
    if given is not None:
        return float(given)
    factor = float(options.get("factor") or stretched)
    return 1.0 if factor <= 1 else sqrt(1 + log(factor) / log(trained))
