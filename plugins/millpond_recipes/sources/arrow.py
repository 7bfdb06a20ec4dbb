"""Parquet and Arrow files as inputs: read in batches, so that a large file needs little memory."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millpond_recipes.errors import InputError
from millpond_recipes.rows import Place, Rows
from millpond_recipes.sources.records import PARQUET

BATCH_ROWS = 4096
BUFFER_BYTES = 1 << 20
FILE_MAGIC = b"ARROW1"  # of Arrow's file format (Feather); its stream format has none


class ArrowFile:
    """A parquet file, or a file in one of Arrow's formats.

    Args:
        path: The file.
        columns: The columns to read.
        file_format: "parquet" or "arrow".
    """

    def __init__(self, path: Path, columns: Sequence[str], file_format: str = PARQUET) -> None:
        self._path, self._columns, self._is_parquet = path, list(columns), file_format == PARQUET

    def schema(self) -> pa.Schema:
        """Return the schema of the file."""
        with self._opened() as file:
            return file.schema_arrow if self._is_parquet else file.schema

    def count(self) -> int:
        """Return the number of rows."""
        with self._opened() as file:
            return file.metadata.num_rows if self._is_parquet else sum(batch.num_rows for batch in _batches(file))

    def places(self) -> Iterator[Place]:
        """Yield the places of all rows, each with the mean size of its row group or batch."""
        with self._opened() as file:
            if self._is_parquet:
                yield from _parquet_places(file.metadata, self._columns[-1])
                return
            row = 0
            for batch in _batches(file):
                size = batch.column(self._columns[-1]).nbytes // max(1, batch.num_rows)
                yield from (Place(0, number, size) for number in range(row, row + batch.num_rows))
                row += batch.num_rows

    def blocks(self, position: int = 0, offset: int = 0) -> Generator[Rows]:
        """Yield the rows from a place, some at a time.

        Raises:
            InputError: If the file is damaged there.
        """
        with self._opened() as file:
            for batch in self._group_batches(file, position) if self._is_parquet else _batches(file):
                for start in range(offset, batch.num_rows, BATCH_ROWS):
                    part = batch.slice(start, BATCH_ROWS)
                    yield Rows({name: part.column(name).to_pylist() for name in self._columns})
                offset = max(0, offset - batch.num_rows)

    def _group_batches(self, file: pq.ParquetFile, first: int) -> Iterator[pa.RecordBatch]:
        for group in range(first, file.metadata.num_row_groups):
            yield from file.iter_batches(BATCH_ROWS, row_groups=[group], columns=self._columns)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the file. It is not mapped into memory: if it is cut while it is read, that would end the process."""
        try:
            if self._is_parquet:
                file: Any = pq.ParquetFile(self._path, memory_map=False, buffer_size=BUFFER_BYTES, pre_buffer=False)
            else:
                content = pa.OSFile(str(self._path))
                is_file = content.read(len(FILE_MAGIC)) == FILE_MAGIC
                content.seek(0)
                file = pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)
            with closing(file) if self._is_parquet else file:
                yield file
        except (OSError, ValueError, pa.ArrowException) as error:
            message = f"cannot read {self._path}: {error}"
            raise InputError(message) from error


def _batches(file: Any) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file."""
    if isinstance(file, pa.ipc.RecordBatchFileReader):
        return map(file.get_batch, range(file.num_record_batches))
    return iter(file)


def _parquet_places(metadata: pq.FileMetaData, content: str) -> Iterator[Place]:
    for group in range(metadata.num_row_groups):
        meta = metadata.row_group(group)
        columns = [meta.column(number) for number in range(meta.num_columns)]
        total = sum(it.total_uncompressed_size for it in columns if it.path_in_schema.split(".")[0] == content)
        size = total // max(1, meta.num_rows)
        yield from (Place(group, offset, size) for offset in range(meta.num_rows))
