"""SHA-256 hashes of a model's files, computed once for each state of a file."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from millpond.model.files import model_files
from millpond.types.errors import CheckpointError

MAX_THREADS = 4
MAX_KEPT_HASHES = 1024
_HASHING = threading.Lock()


def file_hashes(folder: Path, counts: Callable[[Path], bool] | None = None) -> list[tuple[str, str]]:
    """Return the name and the SHA-256 of each file of a model that can change its results, sorted by name.

    Args:
        folder: The folder of the model.
        counts: Returns True for the files to hash; None for all.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    paths = [path for path in model_files(folder) if counts is None or counts(path)]
    # A second caller waits for the hashes of the first.
    with _HASHING, ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="millpond-hash") as pool:
        hashes = [*pool.map(checkpoint_hash, paths)]
    return [(path.relative_to(folder).as_posix(), digest) for path, digest in zip(paths, hashes, strict=True)]


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
        state = path.stat()
        return _hash_of_state(path, (state.st_ino, state.st_size, state.st_mtime_ns))
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}.") from error


@lru_cache(maxsize=MAX_KEPT_HASHES)
def _hash_of_state(path: Path, _: tuple[int, int, int]) -> str:
    return file_hash(path)
