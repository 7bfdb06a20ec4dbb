"""Export to a Lance dataset. Needs pylance."""

from pathlib import Path

from millpond_jobs.exports.results import Results, check_new, library


def export(results: Results, location: str) -> None:
    """Write a Lance dataset with all columns.

    Raises:
        JobError: If the folder exists, or pylance is not installed.
    """
    path = check_new(Path(location))
    batches = (batch for table in results.export_tables() for batch in table.to_batches())
    library("lance", "lance").write_dataset(batches, str(path), schema=results.schema)
