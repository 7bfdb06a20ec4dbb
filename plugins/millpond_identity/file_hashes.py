"""SHA-256 hashes of a model's files."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from millpond.model.files import model_files
from millpond.types.errors import CheckpointError

MAX_THREADS = 4


def file_hashes(folder: Path, counts: Callable[[Path], bool] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the name and the SHA-256 of each file of a model that can change its results, sorted by name.

    Args:
        folder: The folder of the model.
        counts: Returns True for the files to hash; None for all.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    paths = [path for path in model_files(folder) if counts is None or counts(path)]
    with ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="millpond-hash") as pool:
        for path, digest in zip(paths, pool.map(checkpoint_hash, paths), strict=True):
            yield path.relative_to(folder).as_posix(), digest


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_hash(path: Path) -> str:
    """Return the SHA-256 of a file of a model in hexadecimal.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        return file_hash(path)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}.") from error
