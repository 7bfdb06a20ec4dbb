"""Results of a finished job as exporters read them: one table per shard, without failed rows."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from millpond_jobs.errors import JobError
from millpond_jobs.folder.files import write_durably
from millpond_jobs.folder.folder import ERROR, ID, JobFolder
from millpond_jobs.folder.manifest import Manifest
from millpond_jobs.results import PROBS, SCORE, SPARSE_TYPE, VECTOR, VECTORS, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_IN_NAMES = re.compile(r"\W+")
FIXED_SIZE = (VECTOR, PROBS, SCORE)


@dataclass(frozen=True)
class Results:
    """The results of a job.

    Attributes:
        folder: Its folder.
        manifest: Its description.
        name: The name of a collection or table.
        rows: The number of rows.
        has_all_rows: True if no row was left out: row numbers are those of the inputs then.
    """

    folder: JobFolder
    manifest: Manifest
    name: str
    rows: int
    has_all_rows: bool

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of each shard that have a result; shards without any are left out."""
        for table in self.folder.tables(self.manifest):
            kept = table if self.has_all_rows else table.filter(table.column(ERROR).is_null())
            if kept.num_rows:
                yield kept.combine_chunks()

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables."""
        return self.folder.read_shard(self.manifest.shards()[0].name).schema

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
            message = (
                f"{kind} stores {' or '.join(columns)}; the task {task!r} has {', '.join(names[1:])}. Use parquet."
            )
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
        message = f"The job in {job.path} is not finished: {missing} shards are missing. Run it again."
        raise JobError(message)
    failed = sum(done.failed for done in finished.values())
    if failed and not skip_failed:
        message = f"{failed} rows have no result. Run `millpond job retry`, or leave them out with --skip-failed."
        raise JobError(message)
    rows = manifest.rows - failed
    if not rows:
        message = f"The job in {job.path} has no results to export."
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
            for table in results.tables():
                file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in table.column(ID).to_pylist())

    write_durably(path, write)


def check_new(path: Path) -> Path:
    """Return a path that does not exist yet.

    Raises:
        JobError: If it exists.
    """
    if path.exists():
        message = f"{path} exists. Remove it, or choose a different name."
        raise JobError(message)
    return path


def library(name: str, kind: str) -> Any:
    """Import the library of an export.

    Raises:
        JobError: If it is not installed; names the extra that installs it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"The export to {kind} needs the package {error.name!r}: pip install 'millpond[jobs-{kind}]'"
        raise JobError(message) from error


__all__ = [
    "FIXED_SIZE",
    "ID",
    "VECTOR",
    "VECTORS",
    "WEIGHTS",
    "Results",
    "check_new",
    "library",
    "multi_vectors_of",
    "open_results",
    "sparse_of",
    "vectors_of",
    "write_ids",
]
