"""The columns of results in parquet: those of CSV, with the types of the values; vectors are one column."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from millpond_cli.io.results import Result
from millpond_cli.io.serializers import (
    ClassesSerializer,
    EntitiesSerializer,
    ScoreSerializer,
    Serializer,
    SparseSerializer,
    VectorSerializer,
)
from millpond_recipes.results import ENTITY_TYPE, fixed_size_array, list_of_vectors

LABEL, SCORE = pa.string(), pa.float32()
SPARSE_TYPES = (pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.string()))


def result_fields(serializer: Serializer, value: Any, size: int) -> list[pa.Field]:
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
    names = serializer.columns(size)
    return [pa.field(name, kind) for name, kind in zip(names, _types(serializer, len(names)), strict=True)]


def _types(serializer: Serializer, count: int) -> list[pa.DataType]:
    """Return the types of the cells of CSV; other cells than those of the built-in tasks are JSON text."""
    if isinstance(serializer, ScoreSerializer):
        return [SCORE]
    if isinstance(serializer, ClassesSerializer):
        return [LABEL, *[SCORE] * (count - 1)] if serializer.top is None else [LABEL, SCORE] * (count // 2)
    if isinstance(serializer, SparseSerializer):
        return list(SPARSE_TYPES[:count])
    return [pa.list_(ENTITY_TYPE) if isinstance(serializer, EntitiesSerializer) else pa.string()] * count


def result_arrays(serializer: Serializer, results: Sequence[Result], fields: Sequence[pa.Field]) -> list[pa.Array]:
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
