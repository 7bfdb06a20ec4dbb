"""How a model is asked for what a command wants of some rows: bare results, classes, scores of pairs."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.types.json_values import to_json_values
from millpond_cli.arguments import for_call
from millpond_cli.io.notes import Progress
from millpond_cli.io.rows import Row
from millpond_cli.options import Asking, Pairing

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

PLUGIN = "plugin"
IMAGES_AT_ONCE = 64  # their pixels wait in memory
# The results of some rows, none of which is at fault, in their order; one that fails has an error.
Ask = Callable[["LLM", Sequence[Row], Progress], "Sequence[PoolingRequestOutput[Any]]"]


def encoding(
    task: str | None,
    typed: Asking,
    *,
    input_type: str | None = None,
    of_images: bool = False,
    beside: str | None = None,
    **params: Any,
) -> Ask:
    """Ask for the bare results of a task.

    Args:
        task: The task; None for the one that the model is configured for.
        typed: What is asked of each text.
        input_type: Whether texts are queries or documents.
        of_images: Whether texts are the names of files of images.
        beside: A text beside each image.
        **params: What is asked of the pooler.

    Raises:
        CommandError: What was typed contradicts itself.
    """
    options = {**for_call(typed), "input_type": input_type}
    prompt_of = partial(_image, beside=beside) if of_images else _data if task == PLUGIN else _text
    at_once = IMAGES_AT_ONCE if of_images else sys.maxsize

    def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        from millpond.types.params import PoolingParams  # noqa: PLC0415  needs pydantic; --help does not

        outputs: list[PoolingRequestOutput[Any]] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            outputs += llm.encode(
                [prompt_of(row) for row in part],
                PoolingParams(**params),
                pooling_task=task,
                use_tqdm=progress.of(len(part)),
                on_error="return",
                **options,
            )
        return outputs

    return ask


def with_json_values(ask: Ask) -> Ask:
    """Ask for results as JSON values; one that JSON has no form for is an error of its row."""

    def asking(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        return [_as_json_values(llm, output) for output in ask(llm, rows, progress)]

    return asking


def _as_json_values(llm: "LLM", output: "PoolingRequestOutput[Any]") -> "PoolingRequestOutput[Any]":
    from millpond.pipeline.checks import unwritable  # noqa: PLC0415  --help does not need it

    try:
        return replace(output, outputs=to_json_values(output.outputs))
    except TypeError as error:
        return replace(output, outputs=None, error=output.error or unwritable(llm.pipeline.processor("plugin"), error))


def _text(row: Row) -> object:
    return row.text if row.text_pair is None else {"text": row.text, "text_pair": row.text_pair}


def _image(row: Row, beside: str | None = None) -> object:
    image = {"multi_modal_data": {"image": Path(row.text)}}
    return image if beside is None else {"prompt": beside, **image}


def _data(row: Row) -> object:
    return {"data": row.text if row.data is None else row.data}


def scoring(typed: Asking, pairing: Pairing, *, of_images: bool = False) -> Ask:
    """Ask for the scores of pairs.

    Args:
        typed: What is asked of each text.
        pairing: How a pair becomes one text.
        of_images: Whether documents are the names of files of images.

    Raises:
        CommandError: What was typed contradicts itself.
    """
    options = {**for_call(typed), **vars(pairing)}
    at_once = IMAGES_AT_ONCE if of_images else sys.maxsize

    def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        outputs: list[PoolingRequestOutput[Any]] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            documents = [{"image": Path(row.text)} if of_images else row.text for row in part]
            queries = [row.query for row in part]
            outputs += llm.score(queries, documents, use_tqdm=progress.of(len(part)), on_error="return", **options)
        return outputs

    return ask
