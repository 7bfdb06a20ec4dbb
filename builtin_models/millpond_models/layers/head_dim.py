"""The default head dimension: the hidden size divided by the number of heads."""

from millpond.types.errors import CheckpointError


def head_dim(size: int, heads: int, *, keys: tuple[str, str] = ("hidden_size", "num_attention_heads")) -> int:
    """Return the dimensions of each head.

    Args:
        size: Hidden size.
        heads: Number of heads.
        keys: The keys of both in config.json, for the error message.

    Raises:
        CheckpointError: If the hidden size is not a multiple of the number of heads.
    """
    if heads < 1 or size % heads:
        message = f"config.json: {keys[0]} {size} is not divisible by {keys[1]} {heads}"
        raise CheckpointError(message)
    return size // heads
