"""Files of a model folder read as data, without torch: JSON, whose errors name the file, and headers of safetensors."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError

EXTRA_SUFFIXES = (".safetensors", ".pt")  # of files with weights of further heads
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
LARGEST_HEADER = 100_000_000  # bytes, the limit of the format


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        CheckpointError: If it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise CheckpointError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"{path} is not valid JSON: {error}. The file may be truncated: fetch the model again"
        raise CheckpointError(message) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no such file.

    Raises:
        CheckpointError: If it cannot be read or is not a JSON object.
    """
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        message = f"{path} should hold a JSON object; it holds {type(value).__name__}"
        raise CheckpointError(message)
    return value


def inside(folder: Path, name: object, *, written_in: Path) -> Path:
    """A path that a file of the checkpoint names, which must stay inside the folder.

    Raises:
        CheckpointError: If it is no text or leads out of the folder.
    """
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        message = f"{written_in} names {name!r}, which is not a path inside {folder}"
        raise CheckpointError(message)
    return folder / name


def shards(folder: Path, index: Path) -> list[Path]:
    """The files that a sharded checkpoint's index names, each once.

    Raises:
        CheckpointError: If the index does not say which shard holds which tensor.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        message = f"{index} has no 'weight_map' that says which shard holds which tensor"
        raise CheckpointError(message)
    paths = [inside(folder, name, written_in=index) for name in weight_map.values()]
    return list(dict.fromkeys(paths))


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


def extra_file(folder: Path, name: str) -> Path | None:
    """The file of that name beside a model's; None if there is none."""
    return next((path for suffix in EXTRA_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
