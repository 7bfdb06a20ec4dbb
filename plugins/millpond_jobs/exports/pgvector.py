"""Export to a table of PostgreSQL with the extension pgvector. Needs psycopg."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from millpond_checkpoints.space import METADATA_KEY
from millpond_jobs.errors import JobError
from millpond_jobs.exports.results import ID, VECTOR, WEIGHTS, Results, check_ids, library, sparse_of, vectors_of

BIT_TYPES = ("binary", "ubinary")
INVALID = "invalid connection string; expected pgvector:postgresql://user:password@host:port/database"
SIGN_OFFSET = 128  # between "binary" and "ubinary"


def export(results: Results, location: str) -> None:
    """Create a table with the columns ``id`` and ``embedding``, and copy all rows into it in one transaction.

    Args:
        results: The results of a job.
        location: A connection string, such as "postgresql://user@host/database".

    Raises:
        JobError: If the results are not vectors, ids are missing or not unique, the table exists, the server cannot be
            reached, or psycopg is not installed.
    """
    psycopg = library("psycopg", "pgvector")
    column = results.require("pgvector", VECTOR, WEIGHTS)
    check_ids(results, "PostgreSQL", key=lambda row_id: row_id)
    try:
        with psycopg.connect(_connection_string(location)) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            kind = column_type(results, column)
            _create_table(psycopg.sql, connection, results, kind)
            _copy_rows(psycopg.sql, connection, results, column, kind)
    except psycopg.Error as error:
        # An error of the connection string quotes it, with its password; so does the chain of exceptions.
        reason = str(error) if isinstance(error, psycopg.OperationalError) or error.sqlstate else INVALID
        message = f"PostgreSQL: {reason}"
        raise JobError(message) from None


def _connection_string(location: str) -> str:
    """Return the connection string; one that lost its scheme to the name of the export gets it back."""
    return f"postgresql:{location}" if location.startswith("//") else location


def _create_table(sql: Any, connection: Any, results: Results, kind: str) -> None:
    id_type = "bigint" if results.manifest.id_type == "int64" else "text"
    statement = sql.SQL("CREATE TABLE {} (id {} PRIMARY KEY, embedding {})")
    connection.execute(statement.format(sql.Identifier(results.name), sql.SQL(id_type), sql.SQL(kind)))
    if results.manifest.space is not None:
        comment = sql.Literal(json.dumps({METADATA_KEY: results.manifest.space}))
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(results.name), comment))


def column_type(results: Results, column: str) -> str:
    """Return the type of pgvector for the results: vector, halfvec, bit or sparsevec."""
    if column == WEIGHTS:
        size = max(
            (max(row["indices"], default=0) for table in results.tables() for row in sparse_of(table)), default=0
        )
        return f"sparsevec({size + 1})"
    size = results.schema.field(column).type.list_size
    dtype = results.manifest.recipe.embed_dtype
    if dtype in BIT_TYPES:
        return f"bit({8 * size})"
    return f"{'halfvec' if dtype == 'float16' else 'vector'}({size})"


def _copy_rows(sql: Any, connection: Any, results: Results, column: str, kind: str) -> None:
    statement = sql.SQL("COPY {} (id, embedding) FROM STDIN").format(sql.Identifier(results.name))
    size = kind.partition("(")[2].rstrip(")")
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for table in results.export_tables():
            texts = _sparse_texts(table, size) if column == WEIGHTS else _dense_texts(results, table, column)
            for row in zip(table.column(ID).to_pylist(), texts, strict=True):
                copy.write_row(row)


def _dense_texts(results: Results, table: pa.Table, column: str) -> list[str]:
    vectors = vectors_of(table, column)
    dtype = results.manifest.recipe.embed_dtype
    if dtype in BIT_TYPES:
        unsigned = vectors if dtype == "ubinary" else (vectors.astype(np.int16) + SIGN_OFFSET).astype(np.uint8)
        return ["".join(map(str, bits)) for bits in np.unpackbits(unsigned, axis=-1).tolist()]
    return [f"[{','.join(map(repr, row))}]" for row in vectors.astype(np.float32).astype(float).tolist()]


def _sparse_texts(table: pa.Table, size: str) -> list[str]:
    """Return sparse weights as pgvector writes them: indices begin with 1 there."""
    return [
        "{"
        + ",".join(f"{index + 1}:{value!r}" for index, value in zip(row["indices"], row["values"], strict=True))
        + f"}}/{size}"
        for row in sparse_of(table)
    ]
