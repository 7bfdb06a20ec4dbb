"""Helpers for tests of models: random prompts, errors relative to a reference, changes of checkpoints."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

ABSENT = object()  # removes a key in change_config


def random_prompts(vocabulary: int, lengths: Sequence[int], seed: int = 0, first: int = 5) -> list[list[int]]:
    """Return prompts of random token ids.

    Args:
        vocabulary: The size of the vocabulary.
        lengths: The number of tokens of each prompt.
        seed: The random seed.
        first: The lowest id; lower ids are special tokens.
    """
    random = np.random.default_rng(seed)
    return [random.integers(first, vocabulary, size=length).tolist() for length in lengths]


def relative_error(actual: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """Return the largest absolute difference, divided by the largest absolute expected value.

    Raises:
        AssertionError: If the shapes differ.
    """
    shapes = [rows.shape for rows in actual], [rows.shape for rows in expected]
    if shapes[0] != shapes[1]:
        message = f"the shapes are {shapes[0]}; expected {shapes[1]}"
        raise AssertionError(message)
    error = max(float(np.abs(rows - reference).max()) for rows, reference in zip(actual, expected, strict=True))
    return error / max(float(np.abs(rows).max()) for rows in expected)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Path:
    """Change the tensors of a checkpoint in place.

    Returns:
        The folder.
    """
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)
    return folder


def change_config(folder: Path, change: Mapping[str, Any]) -> Path:
    """Change keys of config.json in place; the value ``ABSENT`` removes a key.

    Returns:
        The folder.
    """
    path = folder / "config.json"
    merged = {**json.loads(path.read_text(encoding="utf-8")), **change}
    kept = {key: value for key, value in merged.items() if value is not ABSENT}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return folder
