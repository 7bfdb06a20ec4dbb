"""Which layers of a model attend to a window, and which to all."""

from millpond.context import Context
from millpond.types.errors import CheckpointError

SLIDING, FULL = "sliding_attention", "full_attention"  # as config.json names them


def layer_kinds(ctx: Context, *, every: int, first: int) -> tuple[str, ...]:
    """Whether each layer attends to all or to a window: by ``layer_types``, else every so many layers to all.

    Args:
        ctx: The model's context.
        every: Of so many layers one attends to all.
        first: The place of the first that does.

    Raises:
        CheckpointError: If config.json does not say so of each layer.
    """
    count, kinds = ctx.config.num_hidden_layers, ctx.config.get("layer_types")
    if kinds is None:
        return tuple(SLIDING if (layer - first) % every else FULL for layer in range(count))
    if len(kinds) != count or set(kinds) - {SLIDING, FULL}:
        message = (
            f"config.json: layer_types must say {SLIDING!r} or {FULL!r} for each of {count} layers; got {list(kinds)}"
        )
        raise CheckpointError(message)
    return tuple(kinds)
