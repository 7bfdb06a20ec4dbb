"""Export to one parquet file, with one row group per shard."""

from pathlib import Path

import pyarrow.parquet as pq

from millpond_jobs.exports.results import Results, check_new, stating_failures
from millpond_storage.files import write_durably


def export(results: Results, location: str) -> None:
    """Write a parquet file.

    Raises:
        JobError: If the file exists.
    """
    path = check_new(Path(location))

    def write(temporary: Path) -> None:
        schema = results.schema.with_metadata(results.metadata)
        with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=False) as writer:
            for table in results.export_tables():
                writer.write_table(table, row_group_size=table.num_rows)

    with stating_failures("write", path):
        write_durably(path, write)
