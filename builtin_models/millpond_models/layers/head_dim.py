"""The dimensions of a head of attention, where heads share those of hidden states."""

from millpond.types.errors import CheckpointError


def head_dim(size: int, heads: int, *, keys: tuple[str, str] = ("hidden_size", "num_attention_heads")) -> int:
    """The dimensions of each head.

    Args:
        size: The dimensions of hidden states.
        heads: What is to share them.
        keys: What config.json calls the two.

    Raises:
        CheckpointError: If hidden states cannot be shared among them.
    """
    if heads < 1 or size % heads:
        message = f"config.json: {keys[0]} {size} cannot be shared among {keys[1]} {heads}"
        raise CheckpointError(message)
    return size // heads
