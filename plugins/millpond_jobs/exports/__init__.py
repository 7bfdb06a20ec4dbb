"""Exports of finished jobs: into one file, or a vector index or database."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from millpond_command.progress import Progress
from millpond_jobs.errors import JobError
from millpond_jobs.exports.results import Results, library, open_results, without_password

Exporter = Callable[[Results, str], None]
EXPORTERS = {
    "npy": "millpond_jobs.exports.npy",
    "parquet": "millpond_jobs.exports.parquet",
    "lance": "millpond_jobs.exports.lance",
    "faiss": "millpond_jobs.exports.faiss",
    "qdrant": "millpond_jobs.exports.qdrant",
    "pgvector": "millpond_jobs.exports.pgvector",
}
LIBRARIES = {"lance": "lance", "faiss": "faiss", "qdrant": "qdrant_client", "pgvector": "psycopg"}
EXAMPLE = "KIND:LOCATION, such as npy:vectors.npy"


def export(
    folder: str | Path,
    target: str,
    *,
    name: str | None = None,
    skip_failed: bool = False,
    progress: bool | None = False,
) -> int:
    """Export the results of a finished job.

    Args:
        folder: The folder of the job.
        target: The kind and the location, such as "npy:vectors.npy", "parquet:one.parquet", "lance:vectors.lance",
            "faiss:index.faiss", "qdrant:http://localhost:6333" (or a folder) or "pgvector:postgresql://...".
        name: The collection of Qdrant or table of PostgreSQL; None for the name of the folder.
        skip_failed: Leave out rows without a result.
        progress: Report progress on standard error; None to report it on a terminal.

    Returns:
        The number of rows that were exported.

    Raises:
        JobError: If the job is not finished, rows failed, the kind is unknown or does not store results of this task,
            or the target exists.
    """
    kind, _, location = target.partition(":")
    if kind not in EXPORTERS:
        kinds = ", ".join(EXPORTERS)
        message = f"Unknown target {without_password(target)!r}. Available: {kinds}; write {EXAMPLE}"
        raise JobError(message)
    exporter: Exporter = import_module(EXPORTERS[kind]).export
    if kind in LIBRARIES:
        library(LIBRARIES[kind], kind)
    if not location:
        message = f"the target {kind!r} needs a location: write {EXAMPLE}"
        raise JobError(message)
    results = open_results(folder, name=name, skip_failed=skip_failed)
    with Progress(shown=progress, total=lambda: results.rows, unit="rows") as report:
        exporter(replace(results, advance=report.update), location)
    return results.rows
