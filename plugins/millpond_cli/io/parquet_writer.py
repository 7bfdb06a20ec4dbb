"""ParquetWriter: results as a parquet file, with one column for vectors."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millpond_checkpoints.space import METADATA_KEY
from millpond_cli.io import serializers
from millpond_cli.io.results import ColumnsWriter, Result, cells_of
from millpond_cli.io.serializers import Serializer, VectorSerializer
from millpond_command.cli import CommandError
from millpond_recipes.results import ENTITY_TYPE, fixed_size_array, list_of_vectors

TYPES = {
    serializers.TEXT: pa.string(),
    serializers.NUMBER: pa.float32(),
    serializers.INTEGERS: pa.list_(pa.int32()),
    serializers.NUMBERS: pa.list_(pa.float32()),
    serializers.TEXTS: pa.list_(pa.string()),
    serializers.ENTITIES: pa.list_(ENTITY_TYPE),
}


class ParquetWriter(ColumnsWriter):
    """Writes one row per text: rank, index, id, texts, num_tokens, error, and the columns of the result.

    A vector is a list of float32 of fixed size; vectors of tokens are lists of such lists. A text that failed has a
    null. The type of ids is that of the first one: integers, or texts.
    """

    _parquet: pq.ParquetWriter | None = None

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
        self._results = _result_fields(self._layout.serializer, first, self._layout.dimensions or 1)
        self._schema = pa.schema([*((name, types[name]) for name in self._names()), *self._results])
        if self._layout.space is not None:
            self._schema = self._schema.with_metadata({METADATA_KEY: json.dumps(self._layout.space)})
        self._parquet = pq.ParquetWriter(self._file, self._schema, compression="zstd")

    def _write_rows(self, results: Sequence[Result]) -> None:
        if not results or self._parquet is None:
            return
        rows = [cells_of(result) | (dict.fromkeys(result.row.texts) if result.row.error else {}) for result in results]
        columns = {name: [row.get(name) for row in rows] for name in self._names()}
        if "id" in columns and pa.types.is_integer(self._schema.field("id").type):
            _check_ids(results)
        elif "id" in columns:
            columns["id"] = [None if it is None else str(it) for it in columns["id"]]
        arrays = [pa.array(values, self._schema.field(name).type) for name, values in columns.items()]
        arrays += _result_arrays(self._layout.serializer, results, self._results)
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


def _result_fields(serializer: Serializer, value: Any, size: int) -> list[pa.Field]:
    """Return the names and types of the columns of results.

    Args:
        serializer: The serializer of the results.
        value: A result; None if all have failed.
        size: The number of dimensions of vectors if all have failed.
    """
    if isinstance(serializer, VectorSerializer):
        vector = pa.list_(pa.float32(), size if value is None else value.shape[-1])
        is_nested = value is not None and value.ndim > 1
        return [pa.field(serializer.field, pa.list_(vector) if is_nested else vector)]
    return [pa.field(column.name, TYPES[column.kind]) for column in serializer.columns(size)]


def _result_arrays(serializer: Serializer, results: Sequence[Result], fields: Sequence[pa.Field]) -> list[pa.Array]:
    """Return one array per column; a result that failed is null."""
    if isinstance(serializer, VectorSerializer):
        return [_vectors(results, fields[0].type)]
    rows = [None if result.value is None else serializer.cells(result) for result in results]
    return [
        pa.array([None if row is None else _typed(row[number], field.type) for row in rows], field.type)
        for number, field in enumerate(fields)
    ]


def _vectors(results: Sequence[Result], kind: pa.DataType) -> pa.Array:
    vectors = [None if result.value is None else np.asarray(result.value) for result in results]
    if pa.types.is_fixed_size_list(kind):
        return fixed_size_array(vectors, kind)
    return list_of_vectors(vectors, kind.value_type)


def _typed(cell: str, kind: pa.DataType) -> Any:
    """Return the value of a cell of CSV, whose digits determine a float32 exactly."""
    if pa.types.is_string(kind):
        return cell
    return float(cell) if pa.types.is_floating(kind) else json.loads(cell)
