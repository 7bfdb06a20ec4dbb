"""Columns of results: the Arrow fields of each task, and their arrays from the outputs of `LLM`."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from millpond_recipes.errors import RecipeError
from millpond_recipes.json_values import to_json_values
from millpond_recipes.quantization import BIT_DTYPES, quantize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millpond.types.outputs import PoolingRequestOutput
    from millpond_recipes.model_facts import ModelFacts
    from millpond_recipes.recipe import Recipe

    Outputs = Sequence[PoolingRequestOutput[Any]]

ARROW_TYPES = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8(), "uint8": pa.uint8()}
STORED_AS = {"binary": "int8", "ubinary": "uint8"}
VECTOR, VECTORS, WEIGHTS, LABEL, PROBS, SCORE, ENTITIES, DATA = (
    "vector",
    "vectors",
    "weights",
    "label",
    "probs",
    "score",
    "entities",
    "data",
)
COMMON_FIELDS = [pa.field("num_tokens", pa.int32()), pa.field("truncated", pa.bool_()), pa.field("error", pa.string())]
PLACE_IN_CALL = re.compile(r"\bprompt \d+: ")
SPARSE_TYPE = pa.struct([("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))])
ENTITY_TYPE = pa.struct(
    [
        ("label", pa.string()),
        ("score", pa.float32()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("text", pa.string()),
    ]
)


@dataclass(frozen=True)
class ResultColumns:
    """The columns that a task adds to a table.

    Attributes:
        fields: Their names and types, ending with ``num_tokens``, ``truncated`` and ``error``.
        values: Returns the arrays of the task's own columns from outputs, of which those with an error become null.
    """

    fields: list[pa.Field]
    values: "Callable[[Outputs], list[pa.Array]]"

    def arrays(self, outputs: "Outputs") -> list[pa.Array]:
        """Return one array per field, each with one value per output."""
        failed = [output.error is not None for output in outputs]
        counts = [None if error else output.num_prompt_tokens for output, error in zip(outputs, failed, strict=True)]
        cuts = [None if error else output.truncated for output, error in zip(outputs, failed, strict=True)]
        errors = [None if output.error is None else message_of(output.error) for output in outputs]
        common = [
            pa.array(column, field.type) for column, field in zip((counts, cuts, errors), COMMON_FIELDS, strict=True)
        ]
        return [*self.values(outputs), *common]


def result_columns(recipe: "Recipe", facts: "ModelFacts") -> ResultColumns:
    """Return the columns of a recipe's task.

    Raises:
        RecipeError: If the model does not serve the task, or the task's vectors cannot have the type that is asked for.
    """
    maker = MAKERS.get(recipe.task, _data_columns)
    columns = maker(recipe, facts)
    return ResultColumns([*columns.fields, *COMMON_FIELDS], columns.values)


def _vector_type(recipe: "Recipe", size: int) -> pa.DataType:
    dtype = recipe.embed_dtype
    if dtype in BIT_DTYPES and size % 8:
        message = f"embed_dtype={dtype!r} needs a multiple of 8 dimensions; the vectors have {size}"
        raise RecipeError(message)
    stored = ARROW_TYPES[STORED_AS.get(dtype, dtype)]
    return pa.list_(stored, size // 8 if dtype in BIT_DTYPES else size)


def _embedding_size(recipe: "Recipe", facts: "ModelFacts") -> int:
    size = recipe.dimensions or facts.layers.model.embedding.size
    if size is None:
        message = f"the files of {recipe.model!r} do not state the size of its vectors: set `dimensions`"
        raise RecipeError(message)
    return size


def _vector_columns(recipe: "Recipe", facts: "ModelFacts") -> ResultColumns:
    kind = _vector_type(recipe, _embedding_size(recipe, facts))

    def values(outputs: "Outputs") -> list[pa.Array]:
        return [fixed_size_array([_array(output) for output in outputs], kind, recipe.embed_dtype)]

    return ResultColumns([pa.field(VECTOR, kind)], values)


def _token_vector_columns(recipe: "Recipe", facts: "ModelFacts") -> ResultColumns:
    kind = _vector_type(recipe, _embedding_size(recipe, facts))

    def values(outputs: "Outputs") -> list[pa.Array]:
        return [list_of_vectors([_array(output) for output in outputs], kind, recipe.embed_dtype)]

    return ResultColumns([pa.field(VECTORS, pa.list_(kind))], values)


def _sparse_columns(_: "Recipe", __: "ModelFacts") -> ResultColumns:
    def values(outputs: "Outputs") -> list[pa.Array]:
        weights = [None if output.error else output.outputs for output in outputs]
        indices = list_array([None if it is None else it.indices for it in weights], pa.int32())
        numbers = list_array([None if it is None else it.values for it in weights], pa.float32())
        nulls = pa.array([it is None for it in weights])
        return [pa.StructArray.from_arrays([indices, numbers], fields=list(SPARSE_TYPE), mask=nulls)]

    return ResultColumns([pa.field(WEIGHTS, SPARSE_TYPE)], values)


def _class_columns(_: "Recipe", facts: "ModelFacts") -> ResultColumns:
    labels = facts.layers.model.labels
    kind = pa.list_(pa.float32(), len(labels))

    def values(outputs: "Outputs") -> list[pa.Array]:
        rows = [_array(output) for output in outputs]
        best = [None if row is None else labels[int(row.argmax())] for row in rows]
        return [pa.array(best, pa.string()), fixed_size_array(rows, kind)]

    return ResultColumns([pa.field(LABEL, pa.string()), pa.field(PROBS, kind)], values)


def _token_class_columns(_: "Recipe", facts: "ModelFacts") -> ResultColumns:
    kind = pa.list_(pa.float32(), len(facts.layers.model.labels))

    def values(outputs: "Outputs") -> list[pa.Array]:
        return [list_of_vectors([_array(output) for output in outputs], kind)]

    return ResultColumns([pa.field(PROBS, pa.list_(kind))], values)


def _score_columns(_: "Recipe", __: "ModelFacts") -> ResultColumns:
    def values(outputs: "Outputs") -> list[pa.Array]:
        return [pa.array([None if output.error else output.outputs.score for output in outputs], pa.float32())]

    return ResultColumns([pa.field(SCORE, pa.float32())], values)


def _entity_columns(_: "Recipe", __: "ModelFacts") -> ResultColumns:
    names = [field.name for field in ENTITY_TYPE]

    def values(outputs: "Outputs") -> list[pa.Array]:
        rows = [
            None if output.error else [{name: getattr(entity, name) for name in names} for entity in output.outputs]
            for output in outputs
        ]
        return [pa.array(rows, pa.list_(ENTITY_TYPE))]

    return ResultColumns([pa.field(ENTITIES, pa.list_(ENTITY_TYPE))], values)


def _data_columns(_: "Recipe", __: "ModelFacts") -> ResultColumns:
    """Results of a task of a plugin, as JSON text."""

    def values(outputs: "Outputs") -> list[pa.Array]:
        texts = [
            None if output.error else json.dumps(to_json_values(output.outputs), ensure_ascii=False, sort_keys=True)
            for output in outputs
        ]
        return [pa.array(texts, pa.string())]

    return ResultColumns([pa.field(DATA, pa.string())], values)


MAKERS: "dict[str, Callable[[Recipe, ModelFacts], ResultColumns]]" = {
    "embed": _vector_columns,
    "token_embed": _token_vector_columns,
    "embed_sparse": _sparse_columns,
    "classify": _class_columns,
    "token_classify": _token_class_columns,
    "score": _score_columns,
    "entities": _entity_columns,
}


def message_of(error: Exception) -> str:
    """Return the message of a row's error, without the number of the prompt in the call."""
    return PLACE_IN_CALL.sub("", str(error), count=1)


def _array(output: "PoolingRequestOutput[Any]") -> "NDArray[np.float32] | None":
    return None if output.error is not None else output.outputs.array


def fixed_size_array(
    rows: "Sequence[NDArray[np.float32] | None]", kind: pa.DataType, dtype: str = "float32"
) -> pa.FixedSizeListArray:
    """Return vectors of one size as an Arrow array; None becomes null.

    Args:
        rows: Arrays of float32, [dim].
        kind: The type of the array.
        dtype: The type of the numbers, as in ``Recipe.embed_dtype``.

    Raises:
        RecipeError: If a vector has a different size than the type.
    """
    stored = np.zeros((len(rows), kind.list_size), dtype=kind.value_type.to_pandas_dtype())
    filled = [number for number, row in enumerate(rows) if row is not None]
    if filled:
        vectors = quantize(np.stack([row for row in rows if row is not None]), dtype)
        if vectors.shape[1] != kind.list_size:
            message = f"the model returned vectors of {vectors.shape[1]} numbers; its files state {kind.list_size}"
            raise RecipeError(message)
        stored[filled] = vectors
    nulls = pa.array([row is None for row in rows], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1), kind.value_type), type=kind, mask=nulls)


def list_of_vectors(
    rows: "Sequence[NDArray[np.float32] | None]", kind: pa.DataType, dtype: str = "float32"
) -> pa.ListArray:
    """Return lists of vectors, each [num_tokens, dim], as an Arrow array; None becomes null."""
    vectors = [vector for row in rows if row is not None for vector in row]
    lengths = [0 if row is None else len(row) for row in rows]
    values = fixed_size_array(vectors, kind, dtype)
    return pa.ListArray.from_arrays(_offsets(rows, lengths), values)


def list_array(rows: "Sequence[NDArray[Any] | None]", kind: pa.DataType) -> pa.ListArray:
    """Return lists of numbers of different lengths as an Arrow array; None becomes an empty list."""
    filled = [row for row in rows if row is not None]
    values = np.concatenate(filled) if filled else np.zeros(0)
    offsets = np.cumsum([0, *(0 if row is None else len(row) for row in rows)])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values.astype(kind.to_pandas_dtype()), kind)
    )


def _offsets(rows: Sequence[object], lengths: Sequence[int]) -> pa.Array:
    """Return the offsets of lists; in Arrow a null offset marks a null list."""
    ends = np.cumsum([0, *lengths]).tolist()
    starts = [None if row is None else start for row, start in zip(rows, ends, strict=False)]
    return pa.array([*starts, ends[-1]], pa.int32())
