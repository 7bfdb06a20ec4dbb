"""Attention types of layers: full attention or a sliding window."""

from millpond.context import Context
from millpond.types.errors import CheckpointError

SLIDING, FULL = "sliding_attention", "full_attention"  # values of ``layer_types`` in config.json


def read_layer_types(ctx: Context, *, every: int, first: int) -> tuple[str, ...]:
    """Return the attention type of each layer: ``layer_types``, by default full attention in every n-th layer.

    Args:
        ctx: The model's context.
        every: The period: one of this many layers has full attention.
        first: Index of the first layer with full attention.

    Raises:
        CheckpointError: If ``layer_types`` has a wrong length or unknown types.
    """
    count, types = ctx.config.num_hidden_layers, ctx.config.get("layer_types")
    if types is None:
        return tuple(SLIDING if (layer - first) % every else FULL for layer in range(count))
    if len(types) != count or set(types) - {SLIDING, FULL}:
        message = (
            f"config.json: layer_types must have {SLIDING!r} or {FULL!r} for each of {count} layers; got {list(types)}"
        )
        raise CheckpointError(message)
    return tuple(types)
