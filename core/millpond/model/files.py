"""Reads files of a model folder with limits of their sizes, and finds its weights. Does not import torch."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millpond.model.spec import ModuleSettings
from millpond.regular_file import open_regular
from millpond.types.errors import CheckpointError, first_names

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
EXTRA_SUFFIXES = (".safetensors", ".pt")  # of files with the weights of extra heads
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
IGNORED_SUFFIXES = {".md", ".lock", ".png", ".jpg", ".onnx", ".gguf", ".h5", ".msgpack", ".ot", ".toml"}
IGNORED_FOLDERS = {".cache", ".git", ".ipynb_checkpoints", "__pycache__"}
MAX_LISTED_FILES = 20
MAX_JSON_BYTES = 2**24
MAX_NESTING = 100
TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 2**27  # four times the file of a vocabulary of 262,144 tokens
MAX_TOKENIZER_CONTAINERS = 4_000_000  # each merge is a list
MAX_CONTAINERS = 500_000  # creating five million takes seconds
MAX_HEADER_BYTES = 2**25  # five times the header of a model with 100,000 tensors in one file
MAX_TENSORS = 100_000  # in one file
HEADER_START = struct.Struct("<Q")  # the number of bytes of the header


def read_json(path: Path) -> Any:
    """Read the JSON value in a file.

    Raises:
        CheckpointError: If the file cannot be read or is not valid JSON.
    """
    try:
        is_tokenizer = path.name == TOKENIZER_FILE
        text = read_text(path, MAX_TOKENIZER_BYTES if is_tokenizer else MAX_JSON_BYTES)
        _check_size(text, path, MAX_TOKENIZER_CONTAINERS if is_tokenizer else MAX_CONTAINERS)
        value = json.loads(text)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        message = f"{path} is not valid JSON: {error}. The file may be truncated: download the model again"
        raise CheckpointError(message) from error
    _check_nesting(value, path)
    return value


def read_text(path: Path, max_bytes: int = MAX_JSON_BYTES) -> str:
    """Read a text file of a checkpoint.

    Raises:
        CheckpointError: If it cannot be read, is too large, or is a pipe or a device.
        ValueError: If it is not UTF-8.
    """
    return read_bytes(path, max_bytes).decode()


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of a checkpoint.

    Raises:
        CheckpointError: If it cannot be read, is too large, or is a pipe or a device.
    """
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise CheckpointError(message) from error
    if len(data) > max_bytes:
        message = f"{path} is larger than {max_bytes} bytes, the maximum for this file"
        raise CheckpointError(message)
    return data


def _check_size(text: str, path: Path, max_containers: int) -> None:
    if text.count("[") + text.count("{") > max_containers:
        message = f"{path} contains more than {max_containers} lists and objects: it is not the file of a model"
        raise CheckpointError(message)


def _check_nesting(value: Any, path: Path) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        nested, level = level, []
        for it in nested:
            if isinstance(it, dict | list):
                level += it.values() if isinstance(it, dict) else it
        if not level:
            return
    message = f"{path} is nested too deeply: at most {MAX_NESTING} levels are read"
    raise CheckpointError(message)


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file; empty if the file does not exist.

    Raises:
        CheckpointError: If the file cannot be read or does not hold a JSON object.
    """
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        message = f"{path} must contain a JSON object; it contains {type(value).__name__}"
        raise CheckpointError(message)
    return value


def inside(folder: Path, name: object, *, written_in: Path) -> Path:
    """Return the path of a file that another file of the checkpoint names; it must be inside the folder.

    Raises:
        CheckpointError: If the name is not a string, or the path is outside the folder.
    """
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        message = f"{written_in} names {name!r}, which is not a path inside {folder}"
        raise CheckpointError(message)
    return folder / name


def shards(folder: Path, index: Path) -> list[Path]:
    """Return the files that the index of a sharded checkpoint names, without duplicates.

    Raises:
        CheckpointError: If the index does not map tensors to shards.
    """
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        message = f"{index} has no 'weight_map', which maps each tensor to its shard"
        raise CheckpointError(message)
    paths = [inside(folder, name, written_in=index) for name in weight_map.values()]
    return list(dict.fromkeys(paths))


def list_files(folder: Path) -> str:
    """Return the names of the first files and folders in a folder, for a message."""
    names = sorted(item.name for item in folder.iterdir())
    return first_names(names, MAX_LISTED_FILES) or "nothing"


def weight_files(folder: Path, *, allow_pickle: bool = False) -> list[Path]:
    """Return the weight files in a folder. As in transformers, a single file takes precedence over shards.

    Args:
        folder: The folder.
        allow_pickle: True if pickles are supported, for the message.

    Raises:
        CheckpointError: If the folder has no weights, or shards are missing.
    """
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            return [folder / name]
        if index.exists():
            return _existing_shards(folder, index)
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return others
    expected = f"model.safetensors or model.safetensors.index.json{', nor pytorch_model.bin' if allow_pickle else ''}"
    message = f"{folder} has no weights: it has no {expected}; it contains: {list_files(folder)}"
    raise CheckpointError(message)


def module_weight_file(module: ModuleSettings) -> Path:
    """Return the weight file of a module before or after pooling.

    Raises:
        CheckpointError: If it is missing.
    """
    path = next((module.path / name for name in WEIGHT_FILES if (module.path / name).exists()), None)
    if path is None:
        expected = " or ".join(WEIGHT_FILES)
        message = f"{module.path} is a {module.type} module without weights: expected {expected}"
        raise CheckpointError(message)
    return path


def _existing_shards(folder: Path, index: Path) -> list[Path]:
    paths = shards(folder, index)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        message = f"{index} names shards that are not in {folder}: {', '.join(missing)}. Download the model again"
        raise CheckpointError(message)
    return paths


def read_header_text(path: Path) -> bytes:
    """Return the JSON text of the header of a safetensors file; empty if the file is too short to have one.

    Raises:
        CheckpointError: If the file cannot be read, is a pipe or a device, or the header is too large.
    """
    try:
        with open_regular(path) as file:
            start = file.read(HEADER_START.size)
            size = int(HEADER_START.unpack(start)[0]) if len(start) == HEADER_START.size else 0
            text = file.read(min(size, MAX_HEADER_BYTES))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise CheckpointError(message) from error
    if size > MAX_HEADER_BYTES or text.count(b"{") > MAX_TENSORS:
        message = (
            f"{path} is damaged or truncated (its header has {size} bytes; at most {MAX_HEADER_BYTES} bytes and "
            f"{MAX_TENSORS} tensors are read): download the model again"
        )
        raise CheckpointError(message)
    return text


def extra_file(folder: Path, name: str) -> Path | None:
    """Return the extra weight file of that name in a model's folder; None if it does not exist."""
    return next((path for suffix in EXTRA_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model that can change its results, sorted."""
    return sorted(path for path in walk_files(folder) if _matters(path) and path.is_file())


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, also those in linked folders, such as a Dense module that models share."""
    visited: set[Path] = set()  # a link may lead back to a parent
    for name, folders, files in os.walk(folder, followlinks=True):
        path = Path(name)
        visited.add(path.resolve())
        folders[:] = [it for it in folders if it not in IGNORED_FOLDERS and (path / it).resolve() not in visited]
        yield from (path / it for it in files)


def _matters(path: Path) -> bool:
    is_hidden = path.name.startswith(".") and not path.suffix  # such as .gitattributes
    return not is_hidden and path.suffix not in IGNORED_SUFFIXES
