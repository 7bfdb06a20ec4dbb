"""A tiny checkpoint of AddonNameModel with random weights, for tests."""

from pathlib import Path
from typing import Any

from millpond.testing.checkpoints import random_tensors, write_config, write_tokenizer, write_weights

VOCAB_SIZE, HIDDEN_SIZE = 64, 16


def write_tiny(architecture: str, folder: Path | str, *, seed: int = 0, **options: Any) -> Path:
    """Write config.json, a tokenizer and weights; return the folder."""
    config = {
        "architectures": [architecture],
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "max_position_embeddings": 64,
        **options,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB_SIZE, HIDDEN_SIZE),
        "norm.weight": (HIDDEN_SIZE,),
        "norm.bias": (HIDDEN_SIZE,),
        "up.weight": (4 * HIDDEN_SIZE, HIDDEN_SIZE),
        "up.bias": (4 * HIDDEN_SIZE,),
        "down.weight": (HIDDEN_SIZE, 4 * HIDDEN_SIZE),
        "down.bias": (HIDDEN_SIZE,),
    }
    write_config(folder, config)
    write_tokenizer(folder, max_length=64)
    write_weights(folder, random_tensors(shapes, seed=seed))
    return Path(folder)
