"""Files of tiny checkpoints: config.json and weights with random values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

Shape = tuple[int, ...]


def random_tensors(shapes: Mapping[str, Shape], *, seed: int = 0, dtype: str = "float32") -> dict[str, Tensor]:
    """Return random values for each name, scaled to keep the size of activations; vectors ``*.weight`` are around 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            values = values if "embeddings" in name else values / shape[-1] ** 0.5
        else:
            values = 0.3 * values + (1.0 if name.endswith("weight") else 0.0)
        tensors[name] = values.to(getattr(torch, dtype))
    return tensors


def write_config(folder: Path | str, config: Mapping[str, Any]) -> None:
    """Write config.json."""
    write_json(Path(folder) / "config.json", dict(config))


def write_weights(folder: Path | str, tensors: Mapping[str, Tensor], *, shards: int = 1) -> None:
    """Write model.safetensors, or several shards with their index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {key: tensors[key] for key in list(tensors)[number::shards]}
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    size = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; its folder is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
