"""The files that hold a checkpoint's weights, judged by their names, sizes and headers, without reading the weights."""

import json
import struct
from pathlib import Path
from typing import Any

from millpond.loading.files import read_headers, shards
from millpond.types.errors import CheckpointError

NAMES = ("model.safetensors", "pytorch_model.bin")
FLOATS = ("float64", "float32", "float16", "bfloat16")
LENGTH_BYTES = 8  # a safetensors file begins with the length of its header


def weights_of(folder: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """The files with the weights in a folder, their size, and how many parameters they hold.

    Raises:
        CheckpointError: There are none, some are missing or cut short, or they are pickles that may not be read.
    """
    files = _files(folder)
    pickles = [file.name for file in files if file.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        message = (
            f"{folder} has its weights in pickles ({', '.join(pickles)}), which are read with --allow-pickle alone"
        )
        raise CheckpointError(message)
    for file in files:
        if file.suffix == ".safetensors":
            _check_whole(file)
    sizes = [header.size for header in read_headers(folder) if header.dtype in FLOATS]
    return {
        "format": "pickle" if pickles else "safetensors",
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
        "parameters": None if pickles else sum(sizes),
    }


def _files(folder: Path) -> list[Path]:
    for name in NAMES:
        index = folder / f"{name}.index.json"
        if index.exists():
            return _shards(folder, index)
        if (folder / name).exists():
            return [folder / name]
    lone = sorted(folder.glob("*.safetensors"))
    if len(lone) == 1:
        return lone
    there = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
    message = f"{folder} has no weights: neither {' nor '.join(NAMES)} nor an index of shards; it holds: {there}"
    raise CheckpointError(message)


def _shards(folder: Path, index: Path) -> list[Path]:
    paths = shards(folder, index)
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        message = f"{index} names shards that are not in {folder}: {', '.join(missing)}. Fetch the model again"
        raise CheckpointError(message)
    return paths


def _check_whole(path: Path) -> None:
    """Refuse a safetensors file that is shorter than its header says."""
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        try:
            (length,) = struct.unpack("<Q", start)
            header = json.loads(file.read(min(length, path.stat().st_size)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            message = f"{path} is damaged or truncated: its header cannot be read. Fetch the model again"
            raise CheckpointError(message) from error
    expected = LENGTH_BYTES + length + max(ends, default=0)
    if path.stat().st_size != expected:
        message = (
            f"{path} has {path.stat().st_size} bytes, where its header speaks of {expected}: fetch the model again"
        )
        raise CheckpointError(message)
