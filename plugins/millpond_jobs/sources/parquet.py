"""Parquet files as inputs: row groups are read in batches, so that a large row group needs little memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millpond_jobs.sources.batches import BatchCursor
from millpond_jobs.sources.plan import Record, Shard
from millpond_recipes.errors import InputError
from millpond_recipes.rows import Rows

BATCH_ROWS = 4096
BUFFER_BYTES = 1 << 20


class ParquetFile:
    """A parquet file.

    Args:
        path: The file.
        columns: The columns to read.
        compression: Always None: parquet compresses its own pages.
    """

    def __init__(self, path: Path, columns: Sequence[str], compression: None = None) -> None:  # noqa: ARG002
        self._path, self._columns = path, list(columns)

    def schema(self) -> pa.Schema:
        """Return the schema of the file."""
        with self._file() as file:
            return file.schema_arrow

    def records(self) -> Iterator[Record]:
        """Yield the rows, each with the mean size of its row group."""
        with self._file() as file:
            content = self._columns[-1]
            for group in range(file.metadata.num_row_groups):
                meta = file.metadata.row_group(group)
                columns = [meta.column(number) for number in range(meta.num_columns)]
                total = sum(it.total_uncompressed_size for it in columns if it.path_in_schema.split(".")[0] == content)
                size = total // max(1, meta.num_rows)
                for offset in range(meta.num_rows):
                    yield Record(group, offset, size)

    def values(self, column: str) -> Iterator[Any]:
        """Yield the values of one column."""
        with self._file() as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
                yield from batch.column(0).to_pylist()

    def open(self) -> "ParquetReader":
        """Open the file to read rows."""
        return ParquetReader(self._file(), self._columns, self._path)

    def _file(self) -> pq.ParquetFile:
        try:
            # Not mapped into memory: a file that is cut while it is read would end the process.
            return pq.ParquetFile(self._path, memory_map=False, buffer_size=BUFFER_BYTES, pre_buffer=False)
        except (OSError, pa.ArrowInvalid) as error:
            message = f"cannot read {self._path}: {error}"
            raise InputError(message) from error


class ParquetReader:
    """An open parquet file; shards of one row group are read in order without reading it again."""

    def __init__(self, file: pq.ParquetFile, columns: list[str], path: Path) -> None:
        self._file, self._columns, self._path = file, columns, path
        self._cursor: BatchCursor | None = None
        self._group = -1

    def read(self, shard: Shard) -> Rows:
        """Return the rows of a shard.

        Raises:
            InputError: If the file is damaged there.
        """
        try:
            return Rows.from_table(self._read(shard))
        except (OSError, ValueError, pa.ArrowException) as error:
            message = f"cannot read {self._path}, row {shard.start} (counted from 0): {error}"
            raise InputError(message) from error

    def _read(self, shard: Shard) -> pa.Table:
        parts: list[pa.Table] = []
        group, offset, missing = shard.position, shard.offset, shard.rows
        while missing:
            count = min(missing, self._file.metadata.row_group(group).num_rows - offset)
            if count:
                parts.append(self._rows(group, offset, count))
            group, offset, missing = group + 1, 0, missing - count
        return pa.concat_tables(parts)

    def _rows(self, group: int, offset: int, count: int) -> pa.Table:
        if self._cursor is None or self._group != group or self._cursor.position > offset:
            batches = self._file.iter_batches(BATCH_ROWS, row_groups=[group], columns=self._columns)
            self._cursor, self._group = BatchCursor(batches), group
        return self._cursor.read(offset, count)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
