"""What encoders of BERT's form with rotary positions share: how config.json says by what heads are turned."""

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
    """The rotary positions of a model.

    Args:
        ctx: The model's context.
        theta: The base of the frequencies where ``rope_theta`` does not say it.
        fraction: The part of a head that is turned.
        options: What stands in the place of ``rope_parameters`` and ``rope_scaling``; None for what config.json has.

    Raises:
        CheckpointError: If that part is not an even number of dimensions, or config.json asks for an unknown kind.
    """
    config, size = ctx.config, head_dim_of(ctx)
    turned = size * fraction
    if turned != int(turned) or turned < 1:
        message = f"config.json: {fraction} of heads of {size} dimensions is to be turned: {turned} dimensions"
        raise CheckpointError(message)
    values = config.to_dict()
    if options is not None:
        values = {**values, **dict.fromkeys(ROPE_KEYS), "rope_scaling": dict(options)}
    if values.get("rope_theta") is None:
        values["rope_theta"] = theta
    return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=int(turned))


def head_dim_of(ctx: Context) -> int:
    """The dimensions of a head: ``head_dim`` of config.json, else what the heads share of ``hidden_size``.

    Raises:
        CheckpointError: If they cannot share it.
    """
    config = ctx.config
    given = config.get("head_dim")
    if given is not None:
        return int(given)
    return head_dim(config.hidden_size, config.num_attention_heads)
