"""Questions that commands ask a model about rows: bare results, sparse vectors, scores of pairs."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.types.json_values import to_json_values
from millpond_cli.arguments import for_call
from millpond_cli.io.formats import PLUGIN
from millpond_cli.io.notes import Progress
from millpond_cli.io.rows import Row
from millpond_cli.options import Asking, Pairing

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

IMAGES_AT_ONCE = 64  # their pixels wait in memory
# The results of some rows, each of which has a text, in their order; one that fails has an error.
Ask = Callable[["LLM", Sequence[Row], Progress], "Sequence[PoolingRequestOutput[Any]]"]


def asking(
    method: str,
    typed: Asking,
    prompts: Callable[[Sequence[Row]], tuple[object, ...]],
    *,
    of_images: bool = False,
    **options: Any,
) -> Ask:
    """Ask by a method of ``LLM``.

    Args:
        method: Its name.
        typed: The options of each text.
        prompts: Returns the positional arguments of a call for some rows.
        of_images: True if texts are the names of files of images.
        **options: The further arguments of a call.

    Raises:
        CommandError: The options contradict each other.
    """
    options = {**for_call(typed), **options}
    at_once = IMAGES_AT_ONCE if of_images else sys.maxsize

    def ask(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        outputs: list[PoolingRequestOutput[Any]] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            call = {**options, "use_tqdm": progress.of(len(part)), "on_error": "return"}
            outputs += getattr(llm, method)(*prompts(part), **call)
        return outputs

    return ask


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
        typed: The options of each text.
        input_type: "query" or "document", for models that read the two in different ways.
        of_images: True if texts are the names of files of images.
        beside: A text beside each image.
        **params: The pooling parameters.

    Raises:
        CommandError: The options contradict each other.
    """
    prompt_of = partial(_image, beside=beside) if of_images else _data if task == PLUGIN else _text

    def prompts(rows: Sequence[Row]) -> tuple[object, ...]:
        from millpond.types.params import PoolingParams  # noqa: PLC0415  needs pydantic; --help does not

        return [prompt_of(row) for row in rows], PoolingParams(**params)

    return asking("encode", typed, prompts, of_images=of_images, pooling_task=task, input_type=input_type)


def scoring(typed: Asking, pairing: Pairing, *, of_images: bool = False) -> Ask:
    """Ask for the scores of pairs.

    Args:
        typed: The options of each text.
        pairing: The options of pairs that become one text.
        of_images: True if documents are the names of files of images.

    Raises:
        CommandError: The options contradict each other.
    """

    def prompts(rows: Sequence[Row]) -> tuple[object, ...]:
        documents = [{"image": Path(row.text)} if of_images else row.text for row in rows]
        return [row.query for row in rows], documents

    return asking("score", typed, prompts, of_images=of_images, **vars(pairing))


def with_json_values(ask: Ask, task: str) -> Ask:
    """Ask for results of a task as JSON values; one that JSON has no form for is an error of its row."""

    def asking(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        return [_as_json_values(llm, output, task) for output in ask(llm, rows, progress)]

    return asking


def _as_json_values(llm: "LLM", output: "PoolingRequestOutput[Any]", task: str) -> "PoolingRequestOutput[Any]":
    from millpond.pipeline.checks import unwritable  # noqa: PLC0415  --help does not need it

    try:
        return replace(output, outputs=to_json_values(output.outputs))
    except TypeError as error:
        return replace(output, outputs=None, error=output.error or unwritable(llm.pipeline.processor(task), error))


def _text(row: Row) -> object:
    return row.text if row.text_pair is None else {"text": row.text, "text_pair": row.text_pair}


def _image(row: Row, beside: str | None = None) -> object:
    image = {"multi_modal_data": {"image": Path(row.text)}}
    return image if beside is None else {"prompt": beside, **image}


def _data(row: Row) -> object:
    return {"data": row.text if row.data is None else row.data}
