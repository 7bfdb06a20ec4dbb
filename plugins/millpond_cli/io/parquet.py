"""Rows of parquet files, read in batches of the columns that are needed."""

from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from millpond_cli.choices import spelled_option
from millpond_cli.io.rows import Keys, Row, require_single, row_of_object
from millpond_command.cli import CommandError

ROWS_PER_BATCH = 1024
SCALARS = (date, time, Decimal, bytes)  # values of ids that JSON cannot represent


def read_parquet(file: BinaryIO, name: str, keys: Keys) -> Iterator[Row]:
    """Yield a row per row of a parquet file.

    Args:
        file: The file, opened for reading.
        name: The name of the file in messages.
        keys: The columns to read; ``a.b`` is the field b of the column a, which contains objects.

    Raises:
        CommandError: The file is damaged, or lacks a column.
    """
    try:
        parquet = pq.ParquetFile(file)
        columns = _columns(parquet.schema_arrow.names, name, keys)
        index = 0
        for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=columns):
            for value in batch.to_pylist():
                yield row_of_object(index, f"{name}, row {index} (from 0)", _with_id(value, keys.id), keys)
                index += 1
    except (pa.ArrowException, OSError) as error:
        message = f"{name}: not a parquet file, or damaged: {error}"
        raise CommandError(message) from error


def count_parquet(path: Path) -> int | None:
    """Return the number of rows of a parquet file; None if it cannot be read, which reading its rows reports."""
    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


def _columns(available: list[str], name: str, keys: Keys) -> list[str]:
    """Return the names of the columns that contain the fields of a row."""
    fields = (
        (keys.query, "--query-key", True),
        (keys.text, keys.text_option, True),
        (keys.id, "--id-key", keys.needs_id),
        (keys.text_pair, "--text-pair-key", keys.needs_pair),
    )
    columns = []
    for key, option, required in fields:
        column = None if key is None else key if key in available else key.partition(".")[0]
        require_single(column, available, name)
        if column in available:
            columns.append(column)
        elif required and key is not None:
            message = f"{name} has no column {key!r}. Available: {', '.join(available)}"
            raise CommandError(message, hint=f"name the column with {spelled_option(option, names_column=True)}")
    return list(dict.fromkeys(columns))


def _with_id(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the fields of a row, with an id that JSON can represent."""
    return {**value, key: str(value[key])} if isinstance(value.get(key), SCALARS) else value
