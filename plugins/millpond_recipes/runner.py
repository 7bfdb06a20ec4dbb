"""Runner: a loaded model that adds the columns of a recipe's results to Arrow tables."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from millpond.llm import LLM
from millpond.types.errors import CheckpointError, MillpondError
from millpond.types.params import PoolingParams
from millpond_recipes.errors import FailedRowError, InputError, RecipeError
from millpond_recipes.model_facts import ModelFacts, read_model_facts
from millpond_recipes.recipe import SCORE, append_fields
from millpond_recipes.results import result_columns
from millpond_recipes.rows import Rows, check_schema, prompts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.types.outputs import PoolingRequestOutput
    from millpond_recipes.recipe import Recipe

_computes_rows: ContextVar[bool] = ContextVar("computes_rows", default=False)
METHODS = {"embed_sparse": "embed_sparse", "classify": "classify"}


@dataclass(frozen=True)
class FailedRow:
    """The output of a row that could not be read and was not passed to the model."""

    error: MillpondError
    outputs: None = None


class Runner:
    """A loaded model that computes a recipe for Arrow tables.

    Use it as a context manager, or call `close`. One instance per process and device is enough.

    Args:
        recipe: The description of the work.
        facts: The resolved model, if the caller has it.

    Raises:
        RecipeError: If the model does not serve the task, or depends on plugins that are registered at run time.
        CheckpointError: If a file of the model has changed since the facts were read.
    """

    def __init__(self, recipe: "Recipe", facts: ModelFacts | None = None) -> None:
        facts = facts or read_model_facts(recipe)
        self.recipe = recipe
        self.columns = result_columns(recipe, facts)
        arguments = recipe.model_arguments
        if facts.device == "cpu":  # costs nothing there, and a job that was resumed equals one that was not
            arguments.setdefault("batch_invariant", True)
        self.llm = LLM(recipe.model, **arguments)
        try:
            facts.layers.repository.require_unchanged()  # the facts are those of the loaded weights
        except CheckpointError:
            self.llm.close()
            raise
        if recipe.task not in self.llm.supported_tasks:
            self.llm.close()
            tasks = ", ".join(self.llm.supported_tasks)
            message = f"{recipe.model!r} does not serve the task {recipe.task!r}. Available: {tasks}"
            raise RecipeError(message)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the table with the columns of results appended: same rows, same order.

        A row that fails has a null result and a message in the column ``error``, unless ``on_error`` is "raise".

        Raises:
            RecipeError: If a column is missing, or a row fails and the recipe stops at errors.
        """
        check_schema(table.schema, self.recipe)
        schema = append_fields(table.schema, self.columns.fields)
        results = self.compute(Rows.from_table(table.select(self.recipe.input_columns)))
        return pa.table([*table.columns, *results.columns], schema=schema)

    def compute(self, rows: Rows) -> pa.Table:
        """Return the columns of results alone, for rows of which some may have errors already."""
        prompts = prompts_of(rows, self.recipe)
        valid = [index for index, prompt in enumerate(prompts) if not isinstance(prompt, InputError)]
        outputs: list[Any] = [FailedRow(prompt) if isinstance(prompt, InputError) else None for prompt in prompts]
        if valid:
            with _without_lines_per_call():
                computed = self._outputs([prompts[index] for index in valid])
            for index, output in zip(valid, computed, strict=True):
                outputs[index] = output
        if self.recipe.on_error == "raise":
            _raise_first_error(outputs)
        return pa.table(self.columns.arrays(outputs), schema=pa.schema(self.columns.fields))

    def _outputs(self, prompts: "list[Any]") -> "Sequence[PoolingRequestOutput[Any]]":
        recipe, options = self.recipe, self._call_options()
        if recipe.task == SCORE:
            queries, documents = zip(*prompts, strict=True)
            return self.llm.score(list(queries), list(documents), **options)
        if recipe.task in METHODS:
            return getattr(self.llm, METHODS[recipe.task])(prompts, **options)
        params = PoolingParams(dimensions=recipe.dimensions) if recipe.dimensions else None
        return self.llm.encode(prompts, params, pooling_task=recipe.task, **options)

    def _call_options(self) -> dict[str, Any]:
        recipe = self.recipe
        named = {
            "prompt": recipe.prompt,
            "prompt_name": recipe.prompt_name,
            "input_type": recipe.input_type,
            "on_overflow": recipe.on_overflow,
        }
        chosen = {name: value for name, value in named.items() if value is not None}
        return {**chosen, **recipe.options, "use_tqdm": False, "on_error": "return"}

    def close(self) -> None:
        """End the model's workers."""
        self.llm.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raise_first_error(outputs: "Sequence[PoolingRequestOutput[Any]]") -> None:
    for index, output in enumerate(outputs):
        if output.error is not None:
            raise FailedRowError(index, str(output.error)) from output.error


@contextmanager
def _without_lines_per_call() -> Iterator[None]:
    """Silence the log line for truncated texts of each call: the column ``truncated`` contains it for each row."""
    token = _computes_rows.set(True)
    try:
        yield
    finally:
        _computes_rows.reset(token)


def _is_shown(_: logging.LogRecord) -> bool:
    """Return False in a thread that computes rows; calls of other threads log their lines."""
    return not _computes_rows.get()


logging.getLogger("millpond.pipeline.bound_task").addFilter(_is_shown)  # reports truncated texts of each call
