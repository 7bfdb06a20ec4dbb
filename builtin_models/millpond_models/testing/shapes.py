"""Tensor shapes of layers, by the names of checkpoints."""

from millpond.testing.checkpoints import Shape


def linear_shapes(name: str, in_features: int, out_features: int) -> dict[str, Shape]:
    """Return the shapes of a linear layer with bias."""
    return {f"{name}.weight": (out_features, in_features), f"{name}.bias": (out_features,)}


def norm_shapes(name: str, size: int) -> dict[str, Shape]:
    """Return the shapes of a LayerNorm."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def clip_layer_shapes(name: str, size: int, intermediate_size: int, num_layers: int) -> dict[str, Shape]:
    """Return the shapes of the encoder layers of CLIP and SigLIP.

    Args:
        name: Prefix of the names, such as ``text_model``.
        size: Hidden size.
        intermediate_size: Inner size of the feed-forward networks.
        num_layers: Number of layers.
    """
    shapes: dict[str, Shape] = {}
    for layer in range(num_layers):
        prefix = f"{name}.encoder.layers.{layer}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear_shapes(f"{prefix}.self_attn.{projection}", size, size)
        shapes |= linear_shapes(f"{prefix}.mlp.fc1", size, intermediate_size)
        shapes |= linear_shapes(f"{prefix}.mlp.fc2", intermediate_size, size)
        shapes |= norm_shapes(f"{prefix}.layer_norm1", size) | norm_shapes(f"{prefix}.layer_norm2", size)
    return shapes
