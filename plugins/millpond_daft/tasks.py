"""The function ``encode``: the results of a task for a column of texts or, for tasks of plugins, of objects."""

# pyright: reportMissingImports=false
import json
from collections.abc import Mapping
from typing import Any

import daft
from daft import DataType, Expression, Series

from millpond_daft.models import LoadedModel
from millpond_daft.options import read_work
from millpond_recipes.results import COMMON_FIELDS, DATA
from millpond_recipes.rows import Rows

COLUMN = "item"
ITEMS_PER_BATCH = 4096  # as for texts
COMMON_NAMES = [field.name for field in COMMON_FIELDS]


class EncodedColumn(LoadedModel):
    """Computes the results of a task."""

    def __call__(self, items: Series) -> list[str | None]:
        """Return the result of each row as JSON; None for a null, and for a row that fails if the caller accepts that.

        Args:
            items: Texts, or objects with the fields that the task reads.
        """
        values: list[Any] = items.to_pylist()
        filled = [index for index, value in enumerate(values) if value is not None]
        results: list[str | None] = [None] * len(values)
        if filled:
            table = self.runner.compute(Rows({COLUMN: [values[index] for index in filled]}))
            self.log_errors(table.column("error"))
            for index, row in zip(filled, table.to_pylist(), strict=True):
                results[index] = None if row["error"] is not None else _as_json(row)
        return results


def encode(
    column: Expression, *, task: str, model: str, task_options: Mapping[str, Any] | None = None, **options: Any
) -> Expression:
    """Return the results of a task as a column of JSON texts.

    Args:
        column: Texts, or objects with the fields that a task of a plugin reads.
        task: The name of the task.
        model: A folder, a hub id, or ``scheme:name`` to ask one source.
        task_options: The options of the task by name.
        **options: See ``MillpondProvider``.

    Raises:
        ValueError: If an option is unknown or invalid.
    """
    recipe = {"task": task, "text_column": COLUMN, "options": dict(task_options or {})}
    work = read_work("millpond", model, options, ITEMS_PER_BATCH, **recipe)
    udf = work.udf_options()
    method = daft.method.batch(EncodedColumn.__call__, return_dtype=DataType.string(), batch_size=udf.batch_size)
    of_class = daft.cls(
        type("EncodedColumn", (EncodedColumn,), {"__call__": method}),
        max_concurrency=udf.concurrency,
        gpus=udf.num_gpus or 0,
        max_retries=udf.max_retries,
        on_error=udf.on_error,
        name_override=f"encode_{task}",
    )
    result: Expression = of_class(work)(column)
    return result


def _as_json(row: Mapping[str, Any]) -> str:
    """Return the result in a row: that of a plugin's task is JSON already."""
    if row.keys() == {DATA, *COMMON_NAMES}:
        return str(row[DATA])
    return json.dumps({name: value for name, value in row.items() if name not in COMMON_NAMES})
