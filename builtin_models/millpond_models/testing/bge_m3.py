"""Small random checkpoints of models that retrieve by weights and vectors of tokens: bge-m3."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from millpond.testing.checkpoints import random_tensors, tiny, write_sentence_transformers

SIZE = 32
HEADS = {"sparse_linear": 1, "colbert_linear": SIZE}


def tiny_bge_m3(folder: Path | str, *, pickled: bool = False, seed: int = 0) -> Path:
    """Write a small model like bge-m3: XLM-RoBERTa, and beside it the two heads.

    Args:
        folder: The folder to write; made if it is not there.
        pickled: Whether the heads are pickles, as the published ones are.
        seed: Another seed gives other weights.

    Returns:
        The folder.
    """
    path = tiny("XLMRobertaModel", folder, seed=seed)
    write_sentence_transformers(path, pooling="cls", normalize=True)
    for place, (name, width) in enumerate(HEADS.items()):
        tensors = random_tensors({"weight": (width, SIZE), "bias": (width,)}, seed=seed + place + 7)
        if width == 1:  # so that some tokens weigh nothing
            tensors["weight"] *= 20
            tensors["bias"] -= 30
        if pickled:
            torch.save(tensors, path / f"{name}.pt")
        else:
            save_file(tensors, path / f"{name}.safetensors", metadata={"format": "pt"})
    return path
