"""A tiny checkpoint of TileSegmenter for tests: config.json and random weights, no tokenizer."""

from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import random_tensors, write_config, write_weights

CONFIG: dict[str, Any] = {
    "architectures": ["TileSegmenter"],
    "io_processor_plugin": "tiles",
    "num_bands": 4,
    "num_classes": 3,
    "patch_size": 4,
    "hidden_size": 24,
    "num_attention_heads": 2,
    "max_patches": 16,
    "max_seq_len": 256,
}


def write_tiny(folder: Path, *, seed: int = 0) -> Path:
    """Write the checkpoint and return its folder."""
    bands, classes, patch = CONFIG["num_bands"], CONFIG["num_classes"], CONFIG["patch_size"]
    size, num_positions = CONFIG["hidden_size"], CONFIG["max_patches"]
    linears: dict[str, tuple[int, ...]] = {
        f"attention.{name}": (size, size) for name in ("query", "key", "value", "output")
    }
    linears |= {
        "patch_embed": (size, bands, patch, patch),
        "up": (2 * size, size),
        "down": (size, 2 * size),
        "decode_head": (classes * patch**2, size),
    }
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (num_positions, size) for name in ("rows", "columns")}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("attention_norm", "mlp_norm", "norm"):
        shapes |= {f"{name}.weight": (size,), f"{name}.bias": (size,)}
    write_config(folder, CONFIG)
    write_weights(folder, random_tensors(shapes, seed=seed))
    return folder
