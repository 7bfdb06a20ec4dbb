"""SearchIndex: the vectors of the passages of a file, in one safetensors file beside it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from millpond_cli.io.rows import Row
from millpond_storage.files import write_durably, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

FORMAT = "1"
FOLDER = ".millpond"
HASH_BYTES = 16
SHORT_HASH_CHARS = 8
Stamps = Mapping[str, Sequence[int]]
"""The size in bytes and the time of modification in ns of each file."""


@dataclass(frozen=True, kw_only=True)
class SearchIndex:
    """Passages and their vectors.

    Attributes:
        fingerprint: The fingerprint of the model and the options that the vectors were computed with.
        stamps: The files at the time of reading; empty if not all passages have a vector yet.
        hashes: The hash of each text, [num_passages, 16], uint8.
        vectors: The vectors, [num_passages, dim], float32.
        passages: The passages as JSON, UTF-8, one after the other.
        offsets: The position of each passage in ``passages``, [num_passages + 1].
    """

    fingerprint: str
    stamps: Stamps = field(default_factory=dict)
    hashes: "NDArray[np.uint8]"
    vectors: "Vectors"
    passages: "NDArray[np.uint8]"
    offsets: "NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> Row:
        """Return a passage."""
        start, end = self.offsets[number : number + 2]
        index, location, row_id, text = json.loads(self.passages[start:end].tobytes())
        return Row(index, location, text, row_id)

    def positions(self) -> dict[bytes, int]:
        """Return the position of a vector for the hash of each text."""
        return {digest.tobytes(): number for number, digest in enumerate(self.hashes)}

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all.

        Raises:
            OSError: If the folder cannot be written.
        """
        if not path.parent.exists():
            path.parent.mkdir()
            write_text(path.parent / ".gitignore", "*\n")
        tensors = {name: getattr(self, name) for name in ("hashes", "vectors", "passages", "offsets")}
        metadata = {"format": FORMAT, "fingerprint": self.fingerprint, "stamps": json.dumps(self.stamps)}
        content = save(tensors, metadata)
        write_durably(path, lambda temporary: _write(temporary, content))


def empty_index(fingerprint: str, dimensions: int = 0) -> SearchIndex:
    """Return an index without passages."""
    return SearchIndex(
        fingerprint=fingerprint,
        hashes=np.zeros((0, HASH_BYTES), np.uint8),
        vectors=np.zeros((0, dimensions), np.float32),
        passages=np.zeros(0, np.uint8),
        offsets=np.zeros(1, np.int64),
    )


def load_index(path: Path, fingerprint: str) -> SearchIndex | None:
    """Read an index; return None if it is missing, damaged, or it was computed with another model."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("fingerprint") != fingerprint:
                return None
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        return SearchIndex(fingerprint=fingerprint, stamps=json.loads(metadata["stamps"]), **tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def index_path(source: Path, options: Sequence[object]) -> Path:
    """Return the path of the index of a file or folder.

    Args:
        source: The file or folder.
        options: The name of the model, and the options that determine passages and vectors: each combination has its
            own index.
    """
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:SHORT_HASH_CHARS]
    if source.is_dir():
        return source / FOLDER / f"{digest}.safetensors"
    return source.parent / FOLDER / f"{source.name}.{digest}.safetensors"


def stamps_of(files: Iterable[Path]) -> Stamps:
    """Return the size and the time of modification of files."""
    states = {str(path): path.stat() for path in files}
    return {path: [state.st_size, state.st_mtime_ns] for path, state in states.items()}


def hash_of(text: str) -> bytes:
    """Return the hash of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def update(
    previous: SearchIndex,
    rows: Sequence[Row],
    stamps: Stamps,
    embed: "Callable[[Sequence[Row]], Iterable[Vectors]]",
) -> SearchIndex:
    """Return the index of rows: those with a text that the previous index contains keep its vector.

    Args:
        previous: The index of an earlier version of the source.
        rows: All passages.
        stamps: The files at the time of reading.
        embed: Returns blocks of vectors, [num_rows, dim], for rows with different texts, in order. If it ends early,
            the index contains the rows that have a vector, and is completed by the next update.
    """
    digests = [hash_of(row.text) for row in rows]
    known = previous.positions()
    new = {digest: row for digest, row in zip(digests, rows, strict=True) if digest not in known}
    blocks = list(embed(list(new.values()))) if new else []
    vectors = (
        np.concatenate([previous.vectors, *blocks]) if len(previous) else np.concatenate(blocks or [previous.vectors])
    )
    num_new = sum(map(len, blocks))
    positions = {**known, **{digest: len(previous) + number for number, digest in enumerate(list(new)[:num_new])}}
    kept = [number for number, digest in enumerate(digests) if digest in positions]
    encoded = [_encoded(rows[number]) for number in kept]
    return SearchIndex(
        fingerprint=previous.fingerprint,
        stamps=stamps if len(kept) == len(rows) else {},
        hashes=np.frombuffer(b"".join(digests[number] for number in kept), np.uint8).reshape(-1, HASH_BYTES),
        vectors=vectors[[positions[digests[number]] for number in kept]],
        passages=np.frombuffer(b"".join(encoded), np.uint8),
        offsets=np.cumsum([0, *map(len, encoded)]).astype(np.int64),
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _encoded(row: Row) -> bytes:
    return json.dumps([row.index, row.location, row.id, row.text]).encode()
