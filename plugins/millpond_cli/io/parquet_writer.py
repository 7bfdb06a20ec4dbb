"""ParquetWriter: results as a parquet file, with one column for vectors."""

import json
from collections.abc import Sequence
from typing import Any

from millpond_checkpoints.space import METADATA_KEY
from millpond_cli.io.results import ColumnsWriter, Result, cells_of
from millpond_command.cli import CommandError


class ParquetWriter(ColumnsWriter):
    """Writes one row per text: rank, index, id, texts, num_tokens, error, and the columns of the result.

    A vector is a list of float32 of fixed size; vectors of tokens are lists of such lists. A text that failed has a
    null. The type of ids is that of the first one: integers, or texts.
    """

    _parquet: Any = None

    def finish(self) -> None:
        """Write the rows of an input without a result, and the index at the end of the file."""
        super().finish()
        self.release()

    def release(self) -> None:
        """Close the writer of the file format, which stays open after an error."""
        parquet, self._parquet = self._parquet, None
        if parquet is not None:
            parquet.close()

    def _open(self, first: Any) -> None:
        import pyarrow as pa  # noqa: PLC0415  only this format needs it
        import pyarrow.parquet as pq  # noqa: PLC0415  as above

        from millpond_cli.io.arrow_columns import result_fields  # noqa: PLC0415  imports pyarrow

        ids = (result.row.id for result in self._pending if result.row.id is not None)
        types = {
            "rank": pa.int32(),
            "index": pa.int64(),
            "id": pa.int64() if type(next(ids, None)) is int else pa.string(),
            **dict.fromkeys(self._layout.texts, pa.string()),
            "num_tokens": pa.int32(),
            "num_dropped_tokens": pa.int32(),
            "truncated": pa.bool_(),
            "error": pa.string(),
        }
        self._results = result_fields(self._layout.serializer, first, self._layout.dimensions or 1)
        self._schema = pa.schema([*((name, types[name]) for name in self._names()), *self._results])
        if self._layout.space is not None:
            self._schema = self._schema.with_metadata({METADATA_KEY: json.dumps(self._layout.space)})
        self._parquet = pq.ParquetWriter(self._file, self._schema, compression="zstd")

    def _write_rows(self, results: Sequence[Result]) -> None:
        import pyarrow as pa  # noqa: PLC0415  as above

        from millpond_cli.io.arrow_columns import result_arrays  # noqa: PLC0415  as above

        if not results:
            return
        rows = [cells_of(result) | (dict.fromkeys(result.row.texts) if result.row.error else {}) for result in results]
        columns = {name: [row.get(name) for row in rows] for name in self._names()}
        if "id" in columns and pa.types.is_integer(self._schema.field("id").type):
            _check_ids(results)
        elif "id" in columns:
            columns["id"] = [None if it is None else str(it) for it in columns["id"]]
        arrays = [pa.array(values, self._schema.field(name).type) for name, values in columns.items()]
        arrays += result_arrays(self._layout.serializer, results, self._results)
        self._parquet.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def _check_ids(results: Sequence[Result]) -> None:
    """Check that ids are integers.

    Raises:
        CommandError: An id is not an integer, although the first one is.
    """
    for result in results:
        if result.row.id is not None and type(result.row.id) is not int:
            message = f"{result.row.location}: the id {result.row.id!r} is not an integer like those before it"
            raise CommandError(message, hint="a parquet column has one type; use --format jsonl")
