"""Arrow stream files as inputs, as Hugging Face `datasets` saves them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from millpond_jobs.sources.batches import BatchCursor
from millpond_jobs.sources.plan import Record, Shard
from millpond_recipes.errors import InputError
from millpond_recipes.rows import Rows


class ArrowFile:
    """An Arrow stream file.

    Args:
        path: The file.
        columns: The columns to read.
        compression: Always None.
    """

    def __init__(self, path: Path, columns: Sequence[str], compression: None = None) -> None:  # noqa: ARG002
        self._path, self._columns = path, list(columns)

    def schema(self) -> pa.Schema:
        """Return the schema of the file."""
        with open_stream(self._path) as stream:
            return stream.schema

    def records(self) -> Iterator[Record]:
        """Yield the rows, each with the mean size of its batch."""
        with open_stream(self._path) as stream:
            row = 0
            for batch in stream:
                size = batch.column(self._columns[-1]).nbytes // max(1, batch.num_rows)
                for number in range(row, row + batch.num_rows):
                    yield Record(0, number, size)
                row += batch.num_rows

    def values(self, column: str) -> Iterator[Any]:
        """Yield the values of one column."""
        with open_stream(self._path) as stream:
            for batch in stream:
                yield from batch.column(column).to_pylist()

    def open(self) -> "ArrowReader":
        """Open the file to read rows."""
        return ArrowReader(self._path, self._columns)


class ArrowReader:
    """An open Arrow stream file."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path, self._columns = path, columns
        self._stream: pa.RecordBatchStreamReader | None = None
        self._cursor: BatchCursor | None = None

    def read(self, shard: Shard) -> Rows:
        """Return the rows of a shard.

        Raises:
            InputError: If the file is damaged there.
        """
        try:
            if self._cursor is None or self._cursor.position > shard.offset:
                self.close()
                self._stream = open_stream(self._path)
                self._cursor = BatchCursor(batch.select(self._columns) for batch in self._stream)
            return Rows.from_table(self._cursor.read(shard.offset, shard.rows))
        except (OSError, ValueError, pa.ArrowException) as error:
            message = f"cannot read {self._path}, row {shard.start} (counted from 0): {error}"
            raise InputError(message) from error

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._cursor = None


def open_stream(path: Path) -> pa.RecordBatchStreamReader:
    """Open an Arrow stream file.

    Raises:
        InputError: If it is not one.
    """
    try:
        return pa.ipc.open_stream(pa.OSFile(str(path)))  # a mapped file that is cut would end the process
    except (OSError, pa.ArrowInvalid) as error:
        message = f"cannot read {path}: {error}"
        raise InputError(message) from error
