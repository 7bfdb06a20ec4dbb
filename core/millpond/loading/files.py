"""Reading the small files of a model folder, as data: every failure names the file."""

import json
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError


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
