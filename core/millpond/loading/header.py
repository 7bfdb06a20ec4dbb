"""The header of safetensors files: names, dtypes and shapes of tensors, without torch and without the tensors."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from millpond.loading.files import shards

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
LARGEST_HEADER = 100_000_000  # bytes, the limit of the format


@dataclass(frozen=True)
class TensorHeader:
    """One tensor: its name, the name of its dtype, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)


def read_headers(folder: Path) -> list[TensorHeader]:
    """The tensors of the safetensors files in a folder; empty where there are none or their header is damaged.

    Reading the weights reports damage in full; this is for choosing a dtype and for listings.
    """
    headers: list[TensorHeader] = []
    for path in _files(folder):
        headers += _read(path)
    return headers


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists() or (folder / "model.safetensors").is_file():
        whole = [folder / "model.safetensors", *sorted(folder.glob("*.safetensors"))]
        return [path for path in whole if path.is_file()][:1]
    return [path for path in shards(folder, index) if path.is_file()]


def _read(path: Path) -> list[TensorHeader]:
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == struct.calcsize("<Q") else 0
        if not 0 < size <= LARGEST_HEADER:
            return []
        try:
            entries: dict[str, Any] = json.loads(file.read(size))
            return [
                TensorHeader(name, DTYPES.get(entry["dtype"]) or entry["dtype"].lower(), tuple(entry["shape"]))
                for name, entry in entries.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return []
