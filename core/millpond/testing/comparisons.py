"""What tests of models do again and again: random prompts, distances from a reference, changed checkpoints."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

ABSENT = object()


def random_prompts(vocabulary: int, lengths: Sequence[int], seed: int = 0, first: int = 5) -> list[list[int]]:
    """Random token ids.

    Args:
        vocabulary: How many tokens there are.
        lengths: The tokens of each prompt.
        seed: Another seed gives other ids.
        first: The lowest id; those below are special tokens.
    """
    random = np.random.default_rng(seed)
    return [random.integers(first, vocabulary, size=length).tolist() for length in lengths]


def relative_error(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """The largest difference of results of one shape each, in units of the largest value that is expected."""
    shapes = [rows.shape for rows in found], [rows.shape for rows in expected]
    if shapes[0] != shapes[1]:
        message = f"the shapes are {shapes[0]}, and {shapes[1]} are expected"
        raise AssertionError(message)
    worst = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    return worst / max(float(np.abs(rows).max()) for rows in expected)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Path:
    """Change the tensors of a checkpoint, by name, in place.

    Returns:
        The folder.
    """
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)
    return folder


def change_config(folder: Path, change: Mapping[str, Any]) -> Path:
    """Change keys of config.json in place; one that becomes ``ABSENT`` is taken out.

    Returns:
        The folder.
    """
    path = folder / "config.json"
    merged = {**json.loads(path.read_text(encoding="utf-8")), **change}
    kept = {key: value for key, value in merged.items() if value is not ABSENT}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return folder
