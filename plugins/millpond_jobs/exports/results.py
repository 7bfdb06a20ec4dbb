"""Results of a finished job as exporters read them: one table per shard, without failed rows."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from millpond_checkpoints.space import METADATA_KEY, SIDECAR_SUFFIX
from millpond_command.extras import install_command
from millpond_jobs.errors import JobError
from millpond_jobs.folder.folder import ERROR, ID, JobFolder
from millpond_jobs.folder.manifest import Manifest
from millpond_recipes.results import PROBS, SCORE, SPARSE_TYPE, VECTOR, VECTORS, WEIGHTS
from millpond_storage.files import write_durably, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_IN_NAMES = re.compile(r"\W+")
PRIVATE_PARTS = re.compile(r"(//)[^/]*@")
FIXED_SIZE = (VECTOR, PROBS, SCORE)


def _ignore(_: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Results:
    """The results of a job.

    Attributes:
        folder: Its folder.
        manifest: Its description.
        name: The name of a collection or table.
        rows: The number of rows.
        has_all_rows: True if no row was left out: row numbers are those of the inputs then.
        advance: Receives the number of rows of each table that was exported.
    """

    folder: JobFolder
    manifest: Manifest
    name: str
    rows: int
    has_all_rows: bool
    advance: Callable[[int], None] = _ignore

    def export_tables(self) -> Iterator[pa.Table]:
        """Yield the same tables as `tables`, and report each as exported when the next one is requested."""
        for table in self.tables():
            yield table
            self.advance(table.num_rows)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of each shard that have a result; shards without any are left out."""
        for table in self.folder.tables(self.manifest):
            kept = table if self.has_all_rows else table.filter(table.column(ERROR).is_null())
            if kept.num_rows:
                yield kept.combine_chunks()

    def ids(self) -> Iterator[int | str | None]:
        """Yield the ids of the rows of `tables`."""
        for shard in self.manifest.shards():
            table = self.folder.read_shard(self.manifest, shard, [ID, ERROR])
            kept = table if self.has_all_rows else table.filter(table.column(ERROR).is_null())
            yield from kept.column(ID).to_pylist()

    def position(self, number: int) -> str:
        """Return the row in its input file, for a message, of the row with a number among those of `tables`."""
        for shard in self.manifest.shards():
            errors = self.folder.read_shard(self.manifest, shard, [ERROR]).column(ERROR)
            kept = np.flatnonzero(errors.is_null().to_numpy() | self.has_all_rows)
            if number < len(kept):
                return f"row {shard.start + kept[number]} of {Path(self.manifest.inputs[shard.file].path).name}"
            number -= len(kept)
        raise IndexError(number)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables."""
        return self.folder.read_shard(self.manifest, self.manifest.shards()[0]).schema

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of an export: the descriptor of the space of embeddings, as JSON; empty for other results."""
        space = self.manifest.space
        return {} if space is None else {METADATA_KEY: json.dumps(space)}

    @property
    def has_ids(self) -> bool:
        """True if the ids come from the inputs, and are not row numbers."""
        return self.manifest.recipe.id_column is not None

    def require(self, kind: str, *columns: str) -> str:
        """Return the first of some columns that the results have.

        Raises:
            JobError: If they have none of them.
        """
        names = self.schema.names
        column = next((name for name in columns if name in names), None)
        if column is None:
            task = self.manifest.recipe.task
            message = f"{kind} stores {' or '.join(columns)}; the task {task!r} has {', '.join(names[1:])}; use parquet"
            raise JobError(message)
        return column


def open_results(folder: str | Path, *, name: str | None = None, skip_failed: bool = False) -> Results:
    """Open the results of a finished job.

    Raises:
        JobError: If the job is not finished, has no rows, or has failed rows that are not to be left out.
    """
    job = JobFolder(folder)
    manifest = job.read_manifest()
    finished = job.finished(manifest)
    missing = len(manifest.shards()) - len(finished)
    if missing:
        message = f"the job in {job.path} is not finished: {missing} shards are missing; run it again"
        raise JobError(message)
    failed = sum(done.failed for done in finished.values())
    if failed and not skip_failed:
        message = f"{failed} rows have no result: run `millpond job retry`, or leave them out with --skip-failed"
        raise JobError(message)
    rows = manifest.rows - failed
    if not rows:
        message = f"the job in {job.path} has no results to export"
        raise JobError(message)
    default = NOT_IN_NAMES.sub("_", job.path.resolve().name).strip("_") or "millpond"
    return Results(job, manifest, name or default, rows, has_all_rows=not failed)


def vectors_of(table: pa.Table, column: str) -> "NDArray[Any]":
    """Return a column of vectors as an array, [num_rows, dim]; of scores, [num_rows]."""
    values = table.column(column).combine_chunks()
    if not pa.types.is_fixed_size_list(values.type):
        return values.to_numpy(zero_copy_only=False)
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), values.type.list_size)


def multi_vectors_of(table: pa.Table, column: str) -> "list[NDArray[np.float32]]":
    """Return a column of lists of vectors, as one array [num_tokens, dim] per row."""
    values = table.column(column).combine_chunks()
    size = values.type.value_type.list_size
    flat = values.flatten().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    ends = np.cumsum(values.value_lengths().to_numpy(zero_copy_only=False))[:-1]
    return np.split(flat.reshape(-1, size), ends)


def sparse_of(table: pa.Table, column: str = WEIGHTS) -> list[dict[str, list[Any]]]:
    """Return a column of sparse weights, as ``indices`` and ``values`` per row."""
    rows: list[dict[str, list[Any]]] = table.column(column).cast(SPARSE_TYPE).to_pylist()
    return rows


def write_ids(results: Results, path: Path) -> None:
    """Write the ids of the exported rows beside a file whose rows have none, one JSON value per line."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(row_id, ensure_ascii=False)}\n" for row_id in results.ids())

    write_durably(path, write)


def write_space(results: Results, path: Path) -> None:
    """Write the descriptor of the space of embeddings beside a file that has no metadata."""
    if results.manifest.space is not None:
        write_json(path.with_suffix(SIDECAR_SUFFIX), results.manifest.space)


def check_ids(results: Results, kind: str, key: Callable[[Any], object] | None = None) -> None:
    """Check that each row has an id.

    Args:
        results: The results.
        kind: The kind of the export.
        key: Returns the id under which a row is stored, which must be unique; None if equal ids are allowed.

    Raises:
        JobError: Names the first row without an id, or an id that two rows have.
    """
    advice = "use parquet, npy or lance"
    missing = next((number for number, row_id in enumerate(results.ids()) if row_id is None), None)
    if missing is not None:
        row = results.position(missing)
        message = f"{kind} stores rows by their ids, and {row} (counted from 0) has none: {advice}"
        raise JobError(message)
    if key is None:
        return
    hashes = np.sort(np.fromiter((hash(key(row_id)) for row_id in results.ids()), np.int64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    seen: dict[object, int] = {}
    for number, row_id in enumerate(results.ids() if repeated else ()):
        stored = key(row_id)
        if stored in seen:
            rows = f"{results.position(seen[stored])} and {results.position(number)} (counted from 0)"
            message = f"{kind} stores one row per id, and {rows} have the id {row_id!r}: {advice}"
            raise JobError(message)
        if hash(stored) in repeated:
            seen[stored] = number


def check_new(path: Path) -> Path:
    """Return a path that does not exist yet.

    Raises:
        JobError: If it exists, or its folder does not.
    """
    if not path.parent.is_dir():
        message = f"the folder {path.parent} of the export does not exist: create it, or choose a different one"
        raise JobError(message)
    if path.exists():
        message = f"{path} exists: remove it, or choose a different name"
        raise JobError(message)
    return path


@contextmanager
def stating_failures(action: str, path: Path) -> Iterator[None]:
    """Turn an error of the file system into a `JobError`; the file that could not be completed is removed before.

    Raises:
        JobError: If the body raises OSError, or RuntimeError as faiss does.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        message = f"cannot {action} {path}: {reason or error}; the job is unchanged"
        raise JobError(message) from error


def without_password(location: str) -> str:
    """Return a URL without user, password and query, as error messages quote it."""
    return PRIVATE_PARTS.sub(r"\1...@", location).partition("?")[0]


def library(name: str, kind: str) -> Any:
    """Import the library of an export.

    Raises:
        JobError: If it is not installed; names the extra that installs it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"the export to {kind} needs the package {error.name!r}: {install_command(f'jobs-{kind}')}"
        raise JobError(message) from error


__all__ = [
    "FIXED_SIZE",
    "ID",
    "VECTOR",
    "VECTORS",
    "WEIGHTS",
    "Results",
    "check_ids",
    "check_new",
    "library",
    "multi_vectors_of",
    "open_results",
    "sparse_of",
    "stating_failures",
    "vectors_of",
    "without_password",
    "write_ids",
    "write_space",
]
