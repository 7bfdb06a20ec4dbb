"""Checks of a checkpoint's weight files by their names, sizes and headers, without reading the weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millpond.model.files import module_weight_file, read_header_text, weight_files
from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError
from millpond_checkpoints.headers import read_headers

FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16")
LENGTH_BYTES = 8  # a safetensors file begins with the length of its header


def weights_of(folder: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """Return the weight files of a folder, their size, and the number of parameters.

    Raises:
        CheckpointError: If there are no weights, some are missing or truncated, or they are pickles and not allowed.
    """
    files = weight_files(folder, allow_pickle=allow_pickle)
    pickles = _check_files(folder, files, allow_pickle=allow_pickle)
    sizes = [header.size for header in read_headers(folder) if header.dtype in FLOAT_DTYPES]
    return {
        "format": "pickle" if pickles else "safetensors",
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
        "parameters": None if pickles else sum(sizes),
    }


def check_module_weights(module: ModuleSettings, *, allow_pickle: bool) -> None:
    """Check the weight file of a module before or after pooling.

    Raises:
        CheckpointError: If it is missing or truncated, or is a pickle and not allowed.
    """
    _check_files(module.path, [module_weight_file(module)], allow_pickle=allow_pickle)


def _check_files(folder: Path, files: Sequence[Path], *, allow_pickle: bool) -> list[str]:
    """Check the format and the size of weight files; return the names of those that are pickles."""
    pickles = [file.name for file in files if file.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        message = f"the weights of {folder} are pickles ({', '.join(pickles)}), which require --allow-pickle"
        raise CheckpointError(message)
    for file in files:
        if file.suffix == ".safetensors":
            _check_size(file)
    return pickles


def _check_size(path: Path) -> None:
    """Raise an error if the size of a safetensors file differs from its header."""
    text = read_header_text(path)
    try:
        ends = [entry["data_offsets"][1] for name, entry in json.loads(text).items() if name != "__metadata__"]
        expected = LENGTH_BYTES + len(text) + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        message = f"{path} is damaged or truncated: its header cannot be read. Download the model again"
        raise CheckpointError(message) from error
    if path.stat().st_size != expected:
        message = (
            f"{path} has {path.stat().st_size} bytes, but its header specifies {expected}. Download the model again"
        )
        raise CheckpointError(message)
