"""Input files by name: patterns and folders become files, each with its format."""

import glob
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from millpond.model.files import read_object
from millpond_recipes.errors import InputError
from millpond_recipes.rows import Place, Rows
from millpond_recipes.sources.arrow import ArrowFile
from millpond_recipes.sources.records import COLUMNAR, FORMATS_BY_SUFFIX, TEXT
from millpond_recipes.sources.text import TextFile

FORMATS = {suffix: name for suffix, name in FORMATS_BY_SUFFIX.items() if name != TEXT}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
State = tuple[int, int, int]
"""The size of a file, the time of its modification, and that of the last change of its content or attributes."""
DATASET_STATE, DATASET_DICT = "state.json", "dataset_dict.json"


class InputFormat(Protocol):
    """An open input file."""

    def schema(self) -> pa.Schema:
        """Return the schema of the columns. Text formats infer it from the first rows."""
        ...

    def places(self) -> Iterator[Place]:
        """Yield the places and sizes of all rows."""
        ...

    def blocks(self, position: int = 0, offset: int = 0) -> Generator[Rows]:
        """Yield the rows from a place, some at a time, none of them empty."""
        ...


@dataclass(frozen=True)
class InputName:
    """An input file.

    Attributes:
        path: Its path, absolute.
        format: Its suffix, such as ".jsonl".
        compression: "gzip" or "zstd"; None for none.
    """

    path: Path
    format: str
    compression: str | None = None

    def open(self, columns: Sequence[str]) -> InputFormat:
        """Return the file as its format reads it."""
        file_format = FORMATS[self.format]
        if file_format in COLUMNAR:
            return ArrowFile(self.path, columns, file_format)
        return TextFile(self.path, columns, file_format, self.compression)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn an error of the file system into an `InputError` that names the file.

    Raises:
        InputError: If the body raises OSError.
    """
    try:
        yield
    except OSError as error:
        message = f"cannot read the input {path}: {error.strerror or error}"
        raise InputError(message) from error


def state_of(status: os.stat_result) -> State:
    """Return what changes if a file is written."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def find_inputs(sources: Sequence[str | Path]) -> list[InputName]:
    """Return the files that paths, patterns and dataset folders name, sorted within each.

    Raises:
        InputError: If a path does not exist, or its format is unknown.
    """
    names = [name for source in sources for name in _expanded(str(source))]
    if not names:
        message = "no input files: pass paths, patterns such as 'data/*.parquet', or a datasets folder"
        raise InputError(message)
    return list(dict.fromkeys(names))


def _expanded(source: str) -> list[InputName]:
    path = Path(source)
    if path.is_dir():
        return _dataset_files(path)
    if path.exists():
        if not path.is_file():
            message = f"the input {path} is not a regular file: a job reads its inputs more than once"
            raise InputError(message)
        return [input_name(path)]
    matches = [Path(match) for match in sorted(glob.glob(source, recursive=True))]  # noqa: PTH207  absolute patterns
    files = [path for path in matches if path.is_file()]
    if not files:
        message = f"no file matches {source!r}"
        raise InputError(message)
    return [input_name(path) for path in files]


def input_name(path: Path) -> InputName:
    """Return a file with its format and compression, by its suffixes.

    Raises:
        InputError: If the format is unknown, or the name cannot be stored.
    """
    compression = COMPRESSIONS.get(path.suffix.lower())
    inner = path.with_suffix("") if compression else path
    suffix = inner.suffix.lower()
    if suffix not in FORMATS or (compression and FORMATS[suffix] in COLUMNAR):
        known = ", ".join(FORMATS)
        message = f"Unknown format of the input {path}. Available: {known}; text formats also with .gz or .zst"
        raise InputError(message)
    resolved = path.resolve()
    if os.fsencode(resolved).decode(errors="replace") != str(resolved):
        message = f"the name of the input {str(resolved)!r} is not UTF-8: rename the file or its folder"
        raise InputError(message)
    return InputName(resolved, suffix, compression)


def _dataset_files(folder: Path) -> list[InputName]:
    """Return the Arrow files of a folder written by ``Dataset.save_to_disk``, or the files of a plain folder."""
    if (folder / DATASET_DICT).exists():
        splits = read_object(folder / DATASET_DICT).get("splits", [])
        message = f"{folder} contains several splits; name one: {', '.join(str(folder / str(it)) for it in splits)}"
        raise InputError(message)
    if not (folder / DATASET_STATE).exists():
        files = sorted(path for path in folder.iterdir() if path.is_file() and _is_known(path))
        if not files:
            message = f"{folder} contains no input file. Available formats: {', '.join(FORMATS)}"
            raise InputError(message)
        return [input_name(path) for path in files]
    state = read_object(folder / DATASET_STATE)
    return [input_name(folder / str(entry["filename"])) for entry in state.get("_data_files", [])]


def _is_known(path: Path) -> bool:
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower() in FORMATS
