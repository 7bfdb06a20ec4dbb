"""How a model is asked for what a command wants of some rows: bare results, classes, scores of pairs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from millpond_cli.arguments import for_call
from millpond_cli.notes import Progress
from millpond_cli.options import Asking, Pairing
from millpond_cli.rows import Row

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.outputs import PoolingRequestOutput

PLUGIN = "plugin"
# The results of some rows, none of which is at fault, in their order; one that fails has an error.
Ask = Callable[["LLM", Sequence[Row], Progress], "Sequence[PoolingRequestOutput[Any]]"]


def encoding(task: str | None, typed: Asking, *, input_type: str | None = None, **params: Any) -> Ask:
    """Ask for the bare results of a task.

    Args:
        task: The task; None for the one that the model is configured for.
        typed: What is asked of each text.
        input_type: Whether texts are queries or documents.
        **params: What is asked of the pooler.

    Raises:
        CommandError: What was typed contradicts itself.
    """
    options = {**for_call(typed), "input_type": input_type}

    def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        from millpond.params import PoolingParams  # noqa: PLC0415  needs pydantic; --help does not

        prompts = [_data(row) for row in rows] if task == PLUGIN else [row.text for row in rows]
        return llm.encode(
            prompts,
            PoolingParams(**params),
            pooling_task=task,
            use_tqdm=progress.of(len(rows)),
            on_error="return",
            **options,
        )

    return ask


def _data(row: Row) -> dict[str, object]:
    return {"data": row.text if row.data is None else row.data}


def scoring(typed: Asking, pairing: Pairing) -> Ask:
    """Ask for the scores of pairs.

    Args:
        typed: What is asked of each text.
        pairing: How a pair becomes one text.

    Raises:
        CommandError: What was typed contradicts itself.
    """
    options = {**for_call(typed), **vars(pairing)}

    def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        queries, documents = [row.query for row in rows], [row.text for row in rows]
        return llm.score(queries, documents, use_tqdm=progress.of(len(rows)), on_error="return", **options)

    return ask
