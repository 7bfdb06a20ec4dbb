"""ParquetWriter: results as a parquet file, with one column for vectors."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from millpond_checkpoints.space import METADATA_KEY
from millpond_cli.io.results import Layout, Result, Writer
from millpond_command.cli import CommandError


class ParquetWriter(Writer):
    """Writes one row per text: rank, index, id, texts, num_tokens, error, and the columns of the result.

    A vector is a list of float32 of fixed size; vectors of tokens are lists of such lists. A text that failed has a
    null. The type of ids is that of the first one: integers, or texts.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._pending: list[Result] = []
        self._schema: Any = None
        self._results: list[Any] = []
        self._parquet: Any = None

    def write(self, results: Sequence[Result]) -> None:
        """Write some results. Rows are kept until the first result determines the types of the columns."""
        self._pending += results
        if self._parquet is None:
            first = next((result.value for result in self._pending if result.value is not None), None)
            if first is None:
                return
            self._open(first)
        self._write_pending()

    def finish(self) -> None:
        """Write the rows of an input without a result, and the index at the end of the file."""
        if self._parquet is None:
            self._open(None)
        self._write_pending()
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

    def _names(self) -> Iterator[str]:
        """Yield the names of the columns before those of the result."""
        layout = self._layout
        yield from ("rank",) if layout.with_rank else ()
        yield "index"
        yield from ("id",) if layout.with_id else ()
        yield from layout.texts if layout.with_text else ()
        yield "num_tokens"
        yield from ("num_dropped_tokens", "truncated") if layout.with_dropped else ()
        yield from ("error",) if layout.with_error else ()

    def _write_pending(self) -> None:
        import pyarrow as pa  # noqa: PLC0415  as above

        from millpond_cli.io.arrow_columns import result_arrays  # noqa: PLC0415  as above

        if not self._pending:
            return
        arrays = [self._array(self._schema.field(number)) for number, _ in enumerate(self._names())]
        arrays += result_arrays(self._layout.serializer, self._pending, self._results)
        self._parquet.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending = []

    def _array(self, field: Any) -> Any:
        """Return a column of the pending rows."""
        import pyarrow as pa  # noqa: PLC0415  as above

        if field.name == "id":
            return self._ids(field.type)
        return pa.array([_cell(result, field.name) for result in self._pending], field.type)

    def _ids(self, kind: Any) -> Any:
        """Return the column of ids.

        Raises:
            CommandError: An id is not an integer, although the first one is.
        """
        import pyarrow as pa  # noqa: PLC0415  as above

        for result in self._pending:
            if pa.types.is_integer(kind) and result.row.id is not None and type(result.row.id) is not int:
                message = f"{result.row.location}: the id {result.row.id!r} is not an integer like those before it"
                raise CommandError(message, hint="a parquet column has one type; use --format jsonl")
        ids = [result.row.id for result in self._pending]
        return pa.array(ids if pa.types.is_integer(kind) else [None if it is None else str(it) for it in ids], kind)


def _cell(result: Result, name: str) -> object:
    if name == "num_tokens":
        return result.num_tokens or None
    if name in ("num_dropped_tokens", "truncated"):
        num_dropped = result.num_dropped_tokens
        return None if result.value is None else num_dropped if name == "num_dropped_tokens" else num_dropped > 0
    if name in result.row.texts:
        return None if result.row.error else result.row.texts[name]  # a missing text is null, unlike an empty one
    return {"rank": result.rank, "index": result.row.index, "error": result.error or None}.get(name)
