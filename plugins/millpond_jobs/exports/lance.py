"""Export to a Lance dataset. Needs pylance."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from millpond_jobs.errors import JobError
from millpond_jobs.exports.results import Results, check_new, library, stating_failures


def export(results: Results, location: str) -> None:
    """Write a Lance dataset with all columns.

    Raises:
        JobError: If the folder exists or cannot be written, or pylance is not installed.
    """
    lance = library("lance", "lance")
    path = check_new(Path(location))
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}.tmp")
    errors: list[JobError] = []
    try:
        with stating_failures("write", path):
            schema = results.schema.with_metadata(results.metadata)
            lance.write_dataset(_batches(results, errors), str(temporary), schema=schema)
            temporary.rename(path)
    except JobError as error:
        raise (errors or [error])[0] from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _batches(results: Results, errors: list[JobError]) -> Iterator[Any]:
    """Yield the batches of all shards, and keep an error: Lance raises a different one."""
    try:
        for table in results.export_tables():
            yield from table.to_batches()
    except JobError as error:
        errors.append(error)
        raise
