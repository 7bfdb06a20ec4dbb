"""Tiny checkpoints of bge-m3."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from millpond.testing.checkpoints import random_tensors, tiny, write_sentence_transformers

SIZE = 32
HEADS = {"sparse_linear": 1, "colbert_linear": SIZE}


def tiny_bge_m3(folder: Path | str, *, pickled: bool = False, seed: int = 0) -> Path:
    """Write a small model like bge-m3: XLM-RoBERTa and two heads in separate files.

    Args:
        folder: The folder to write; created if missing.
        pickled: True for pickled heads, like the published ones.
        seed: Seed of the random weights.

    Returns:
        The folder.
    """
    path = tiny("XLMRobertaModel", folder, seed=seed)
    write_sentence_transformers(path, pooling="cls", normalize=True)
    for index, (name, size) in enumerate(HEADS.items()):
        tensors = random_tensors({"weight": (size, SIZE), "bias": (size,)}, seed=seed + index + 7)
        if size == 1:  # so that the weights of some tokens are 0
            tensors["weight"] *= 20
            tensors["bias"] -= 30
        if pickled:
            torch.save(tensors, path / f"{name}.pt")
        else:
            save_file(tensors, path / f"{name}.safetensors", metadata={"format": "pt"})
    return path
