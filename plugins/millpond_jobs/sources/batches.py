"""A cursor over Arrow record batches, which reads forward and keeps the part of a batch that is left."""

from collections.abc import Iterator

import pyarrow as pa


class BatchCursor:
    """Rows of a stream of record batches.

    Attributes:
        position: The number of the next row.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest: pa.RecordBatch | None = None
        self.position = 0

    def read(self, start: int, count: int) -> pa.Table:
        """Return ``count`` rows from the row ``start``, which must not be before ``position``.

        Raises:
            ValueError: If the stream ends too early.
        """
        self._skip(start - self.position)
        parts: list[pa.RecordBatch] = []
        while count:
            part = self._take(count)
            parts.append(part)
            count -= part.num_rows
        return pa.Table.from_batches(parts)

    def _skip(self, count: int) -> None:
        while count > 0:
            count -= self._take(count).num_rows

    def _take(self, count: int) -> pa.RecordBatch:
        """Return at most ``count`` rows, at least one."""
        batch = self._rest
        while batch is None or batch.num_rows == 0:
            batch = next(self._batches, None)
            if batch is None:
                message = "the file ends too early"
                raise ValueError(message)
        self._rest = batch.slice(count) if batch.num_rows > count else None
        part = batch.slice(0, count)
        self.position += part.num_rows
        return part
