"""Row runners: functions that run a model on a batch of input rows, by one of the methods of ``LLM``."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond_cli.arguments import call_arguments
from millpond_cli.io.formats import PLUGIN
from millpond_cli.io.rows import Row
from millpond_cli.options import CallOptions, PairOptions
from millpond_command.progress import Progress, call_progress
from millpond_recipes.json_values import to_json_values

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

IMAGES_PER_CALL = 64  # bounds the memory that decoded images take
RowRunner = Callable[["LLM", Sequence[Row], Progress], "Sequence[PoolingRequestOutput[Any]]"]
"""Returns one output per row, in order; the output of a row that failed has an error."""


def method_runner(
    method: str,
    call_options: CallOptions,
    prompts: Callable[[Sequence[Row]], tuple[object, ...]],
    *,
    of_images: bool = False,
    **options: Any,
) -> RowRunner:
    """Return a runner that calls a method of ``LLM``.

    Args:
        method: The name of the method.
        call_options: The options of the call.
        prompts: Returns the positional arguments of the call for some rows.
        of_images: True if the texts of rows are the paths of image files.
        **options: Further arguments of the call.

    Raises:
        CommandError: The options contradict each other.
    """
    options = {**call_arguments(call_options), **options}
    rows_per_call = IMAGES_PER_CALL if of_images else sys.maxsize

    def run(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        outputs: list[PoolingRequestOutput[Any]] = []
        for start in range(0, len(rows), rows_per_call):
            batch = rows[start : start + rows_per_call]
            arguments = {**options, "use_tqdm": call_progress(progress, len(batch)), "on_error": "return"}
            outputs += getattr(llm, method)(*prompts(batch), **arguments)
        return outputs

    return run


def encode_runner(
    task: str | None,
    call_options: CallOptions,
    *,
    input_type: str | None = None,
    of_images: bool = False,
    of_objects: bool = False,
    image_text: str | None = None,
    **params: Any,
) -> RowRunner:
    """Return a runner for the raw output of a task, by ``LLM.encode``.

    Args:
        task: The task; None for the task that the model is configured for.
        call_options: The options of the call.
        input_type: "query" or "document", for models that encode queries and documents differently.
        of_images: True if the texts of rows are the paths of image files.
        of_objects: True if the task reads objects.
        image_text: A text that is added to each image.
        **params: The pooling parameters.

    Raises:
        CommandError: The options contradict each other.
    """
    to_prompt: Callable[[Row], object] = _object_prompt if of_objects else _text_prompt
    if of_images:
        to_prompt = partial(_image_prompt, image_text=image_text)
    elif task == PLUGIN:
        to_prompt = _data_prompt

    def prompts(rows: Sequence[Row]) -> tuple[object, ...]:
        from millpond.types.params import PoolingParams  # noqa: PLC0415  imports pydantic, which --help does not need

        return [to_prompt(row) for row in rows], PoolingParams(**params)

    return method_runner("encode", call_options, prompts, of_images=of_images, pooling_task=task, input_type=input_type)


def score_runner(call_options: CallOptions, pair_options: PairOptions, *, of_images: bool = False) -> RowRunner:
    """Return a runner for the scores of pairs, by ``LLM.score``.

    Args:
        call_options: The options of the call.
        pair_options: The options of pairs that are encoded together.
        of_images: True if documents are the paths of image files.

    Raises:
        CommandError: The options contradict each other.
    """

    def prompts(rows: Sequence[Row]) -> tuple[object, ...]:
        documents = [{"image": Path(row.text)} if of_images else row.text for row in rows]
        return [row.query for row in rows], documents

    return method_runner("score", call_options, prompts, of_images=of_images, **vars(pair_options))


def with_json_values(runner: RowRunner, task: str) -> RowRunner:
    """Return a runner that converts results to JSON values; a result that JSON cannot represent fails its row."""

    def run(llm: "LLM", rows: Sequence[Row], progress: Progress) -> "Sequence[PoolingRequestOutput[Any]]":
        return [_as_json_values(llm, output, task) for output in runner(llm, rows, progress)]

    return run


def _as_json_values(llm: "LLM", output: "PoolingRequestOutput[Any]", task: str) -> "PoolingRequestOutput[Any]":
    from millpond.pipeline.checks import unwritable  # noqa: PLC0415  not needed by --help

    try:
        return replace(output, outputs=to_json_values(output.outputs))
    except TypeError as error:
        return replace(output, outputs=None, error=output.error or unwritable(llm.pipeline.processor(task), error))


def _text_prompt(row: Row) -> object:
    return row.text if row.text_pair is None else {"text": row.text, "text_pair": row.text_pair}


def _image_prompt(row: Row, image_text: str | None = None) -> object:
    image = {"multi_modal_data": {"image": Path(row.text)}}
    return image if image_text is None else {"prompt": image_text, **image}


def _object_prompt(row: Row) -> object:
    """Return the object of a row; a text is read as JSON."""
    if row.data is not None:
        return row.data
    try:
        return json.loads(row.text)
    except ValueError:
        return row.text  # the error of the task names its fields


def _data_prompt(row: Row) -> object:
    return {"data": row.text if row.data is None else row.data}
