"""Names, dtypes and shapes of the tensors in safetensors files, without their values. Does not import torch."""

import json
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

from millpond.model.files import DTYPES, read_header_text, shards

MAX_DIMENSIONS, MAX_SIZE = 64, 2**63


@dataclass(frozen=True)
class TensorHeader:
    """Name, dtype name and shape of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of values."""
        return prod(self.shape)


def read_headers(folder: Path) -> list[TensorHeader]:
    """Read the headers of the safetensors files in a folder; empty without such files or if a header is damaged.

    This is used to choose a dtype and to list tensors. Damaged files raise an error when the weights are loaded.
    """
    headers: list[TensorHeader] = []
    for path in _safetensors(folder):
        headers += _read_header(path)
    return headers


def _safetensors(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists() or (folder / "model.safetensors").is_file():
        whole = [folder / "model.safetensors", *sorted(folder.glob("*.safetensors"))]
        return [path for path in whole if path.is_file()][:1]
    return [path for path in shards(folder, index) if path.is_file()]


def _read_header(path: Path) -> list[TensorHeader]:
    text = read_header_text(path)
    try:
        entries: dict[str, Any] = json.loads(text)
        headers = [
            TensorHeader(name, DTYPES.get(entry["dtype"]) or entry["dtype"].lower(), tuple(entry["shape"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return headers if _are_shapes([header.shape for header in headers]) else []


def _are_shapes(shapes: list[tuple[Any, ...]]) -> bool:
    sizes = [*chain.from_iterable(shapes)]
    are_sizes = {*map(type, sizes)} <= {int} and min(sizes, default=0) >= 0 and max(sizes, default=0) < MAX_SIZE
    return are_sizes and max(map(len, shapes), default=0) <= MAX_DIMENSIONS
