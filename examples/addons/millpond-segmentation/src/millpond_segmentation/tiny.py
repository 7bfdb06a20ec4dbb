"""A tiny checkpoint of PatchSegmenter with random weights, for tests."""

from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import random_tensors, write_config, write_weights

CONFIG: dict[str, Any] = {
    "io_processor_plugin": "segmentation",
    "tile_size": 16,
    "tile_overlap": 4,
    "patch_size": 4,
    "num_channels": 3,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "id2label": {"0": "background", "1": "water", "2": "forest"},
    "image_mean": [0.5, 0.45, 0.4],
    "image_std": [0.25, 0.2, 0.3],
    "max_seq_len": 16,
}


def write_tiny(architecture: str, folder: Path | str, *, seed: int = 0, **options: Any) -> Path:
    """Write config.json and weights, without a tokenizer; return the folder."""
    config = {"architectures": [architecture], **CONFIG, **options}
    write_config(folder, config)
    write_weights(folder, random_tensors(_shapes(config), seed=seed))
    return Path(folder)


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    size, patch, inner = config["hidden_size"], config["patch_size"], config["intermediate_size"]
    weights: dict[str, tuple[int, ...]] = {
        "patch_embed": (size, config["num_channels"], patch, patch),
        "encoder.norm": (size,),
        "neck": (size, size, 3, 3),
        "head": (len(config["id2label"]) * patch**2, size, 1, 1),
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{index}"
        weights |= {f"{layer}.norm1": (size,), f"{layer}.norm2": (size,), f"{layer}.self_attn.out_proj": (size, size)}
        weights |= {f"{layer}.linear1": (inner, size), f"{layer}.linear2": (size, inner)}
    shapes: dict[str, tuple[int, ...]] = {"positions": ((config["tile_size"] // patch) ** 2, size)}
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for index in range(config["num_hidden_layers"]):
        attention = f"encoder.layers.{index}.self_attn"
        shapes |= {f"{attention}.in_proj_weight": (3 * size, size), f"{attention}.in_proj_bias": (3 * size,)}
    return shapes
