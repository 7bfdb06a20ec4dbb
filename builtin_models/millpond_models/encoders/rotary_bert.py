"""Rotary embeddings of BERT-like encoders, from their various keys in config.json."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.rotary import Rotary

ROPE_KEYS = ("rope_parameters", "rope_scaling")


def rotary_of(
    ctx: Context, *, theta: object, fraction: float = 1.0, options: Mapping[str, Any] | None = None
) -> Rotary:
    """Build the rotary embedding of a model.

    Args:
        ctx: The model's context.
        theta: Base of the frequencies for a config.json without ``rope_theta``.
        fraction: Fraction of the dimensions of a head that are rotated.
        options: Replacement for ``rope_parameters`` and ``rope_scaling``; None to use those of config.json.

    Raises:
        CheckpointError: If the number of rotated dimensions is not an even integer, or ``rope_type`` is unknown.
    """
    config, size = ctx.config, head_dim_of(ctx)
    rotary_dim = size * fraction
    if rotary_dim != int(rotary_dim) or rotary_dim < 1:
        message = f"config.json: a fraction of {fraction} of head dimension {size} is {rotary_dim} rotated dimensions"
        raise CheckpointError(message)
    values = config.to_dict()
    if options is not None:
        values = {**values, **dict.fromkeys(ROPE_KEYS), "rope_scaling": dict(options)}
    if values.get("rope_theta") is None:
        values["rope_theta"] = theta
    return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=int(rotary_dim))


def head_dim_of(ctx: Context) -> int:
    """Return ``head_dim`` of config.json, by default the hidden size divided by the number of heads.

    Raises:
        CheckpointError: If the hidden size is not divisible.
    """
    config = ctx.config
    stated = config.get("head_dim")
    return head_dim(config.hidden_size, config.num_attention_heads) if stated is None else int(stated)
