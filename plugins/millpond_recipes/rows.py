"""Rows of a table as prompts: each row becomes a prompt, or an error that explains why it cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from millpond.plugin.manager import get_plugin_manager
from millpond_recipes.errors import InputError

if TYPE_CHECKING:
    from millpond_recipes.recipe import Recipe

COLUMN_FIELDS = ("id_column", "query_column", "image_column", "text_column")


class Place(NamedTuple):
    """The place of a row in an input file, and its size.

    Attributes:
        position: The place where reading starts: a byte, or a row group of parquet.
        offset: The number of rows between that place and the row.
        size: The size of the row in bytes.
    """

    position: int
    offset: int
    size: int


@dataclass(frozen=True)
class Rows:
    """Rows that were read from an input.

    Attributes:
        columns: The values of the recipe's columns, by name. A column may mix texts and lists of messages.
        errors: Messages for rows that could not be read, by their index.
    """

    columns: Mapping[str, Sequence[Any]]
    errors: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_table(cls, table: pa.Table) -> "Rows":
        """Return the rows of a table."""
        return cls({name: table.column(name).to_pylist() for name in table.column_names})

    @classmethod
    def joined(cls, parts: Sequence["Rows"], columns: Sequence[str]) -> "Rows":
        """Return the rows of several parts, which have the same columns."""
        errors, start = dict[int, str](), 0
        for part in parts:
            errors |= {start + index: error for index, error in part.errors.items()}
            start += len(part)
        return cls({name: [value for part in parts for value in part.columns[name]] for name in columns}, errors)

    def __len__(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    def slice(self, start: int, stop: int | None = None) -> "Rows":
        """Return the rows from one index to another."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        end = len(self) if stop is None else stop
        return Rows(columns, {index - start: it for index, it in self.errors.items() if start <= index < end})

    def take(self, indices: Sequence[int]) -> "Rows":
        """Return some rows, in the order of their indices."""
        columns = {name: [values[index] for index in indices] for name, values in self.columns.items()}
        return Rows(columns, {new: self.errors[old] for new, old in enumerate(indices) if old in self.errors})


def check_schema(schema: pa.Schema, recipe: "Recipe", name: str = "the table") -> None:
    """Check that a table has the columns of a recipe, with types that can be prompts.

    Raises:
        InputError: Names the column, and those that exist.
    """
    for column in recipe.input_columns:
        if column not in schema.names:
            option = next(it for it in COLUMN_FIELDS if getattr(recipe, it) == column)
            hint = f"choose one with --{option.replace('_', '-')} ({option})"
            message = f"{name} has no column {column!r}. Available: {', '.join(schema.names)}; {hint}"
            raise InputError(message)
        if (count := schema.names.count(column)) > 1:
            message = f"{name} has {count} columns {column!r}: rename or remove all but one of them"
            raise InputError(message)
    content = recipe.input_columns[-1]
    kind = value_type(schema.field(content).type)
    of_objects = reads_objects(recipe.task)
    is_content = pa.types.is_struct(kind) if of_objects else is_text(kind) or is_messages(kind)
    if recipe.image_column is None and not (is_content or pa.types.is_null(kind)):
        expected = "objects" if of_objects else "texts, or lists of messages"
        message = f"{name}: the column {content!r} contains {kind}; expected {expected}"
        raise InputError(message)
    if recipe.image_column is not None and not (is_text(kind) or is_bytes(kind) or pa.types.is_null(kind)):
        message = f"{name}: the column {content!r} contains {kind}; expected paths of images, or their bytes"
        raise InputError(message)
    query_type = None if recipe.query_column is None else value_type(schema.field(recipe.query_column).type)
    if query_type is not None and not (is_text(query_type) or pa.types.is_null(query_type)):
        message = f"{name}: the column {recipe.query_column!r} must contain texts"
        raise InputError(message)


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a column, which may be stored as a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """True for the types of texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """True for the types of bytes."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def is_messages(kind: pa.DataType) -> bool:
    """True for lists of objects, as conversations are stored."""
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type)


def prompts_of(rows: Rows, recipe: "Recipe") -> list[Any]:
    """Return one value per row: what `LLM` takes, or an `InputError`.

    For the task "score" a value is a pair of a query and a document.
    """
    column = recipe.input_columns[-1]
    is_image, of_objects = recipe.image_column is not None, reads_objects(recipe.task)
    prompts = [
        _prompt(value, column, is_image=is_image, of_objects=of_objects)
        if index not in rows.errors
        else InputError(rows.errors[index])
        for index, value in enumerate(rows.columns[column])
    ]
    if recipe.query_column is None:
        return prompts
    pairs = zip(rows.columns[recipe.query_column], prompts, strict=True)
    return [_pair(query, prompt, recipe.query_column) for query, prompt in pairs]


def reads_objects(task: str) -> bool:
    """Return True if the items of a task are objects instead of texts."""
    entry = get_plugin_manager().registry.tasks.find(task)
    return entry is not None and entry.spec.item is not None


def _prompt(value: Any, column: str, *, is_image: bool, of_objects: bool) -> Any:
    if value is None:
        return InputError(f"the column {column!r} is null")
    if is_image:
        return {"multi_modal_data": {"image": Path(value) if isinstance(value, str) else value}}
    if isinstance(value, dict):
        return _without_nulls(value) if of_objects else InputError(f"{column!r} is dict; expected text")
    return {"messages": [_without_nulls(message) for message in value]} if isinstance(value, list) else value


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an object, such as a message, without fields that Arrow added because others have them."""
    return {name: value for name, value in fields.items() if value is not None}


def _pair(query: Any, document: Any, column: str) -> Any:
    if isinstance(document, InputError):
        return document
    return InputError(f"the column {column!r} is null") if query is None else (query, document)
