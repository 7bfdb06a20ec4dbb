"""From rows to vectors to a file, piece by piece and in order: what ``millpond embed`` does."""

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

from millpond.cli import CommandError
from millpond_cli.arguments import ModelArguments
from millpond_cli.notes import Progress, warn
from millpond_cli.output import open_output
from millpond_cli.rows import Keys, Row, Source, read_rows

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.outputs import PoolingRequestOutput
    from millpond_cli.writers import Result, Writer

CHUNK = 1024  # texts that are read, computed and written at a time
PLACE_IN_CALL = re.compile(r"prompt \d+: ")
TOO_LONG = "maximum context length"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is wanted of the texts.

    Attributes:
        task: The pooling task.
        format: How results are written.
        with_text: Whether texts are written too.
        keys: Which fields hold the text and its id.
        truncate: Whether a text that is too long is cut.
        dimensions: How many dimensions to keep.
        normalize: Whether vectors are brought to length 1; None as the model says.
        skips: Whether a text that fails is passed over.
        quiet: Whether notes are kept back.
        progress: Whether there is a progress bar; None for on a terminal.
    """

    task: str
    format: str
    with_text: bool
    keys: Keys
    truncate: bool
    dimensions: int | None
    normalize: bool | None
    skips: bool
    quiet: bool
    progress: bool | None


@dataclass(kw_only=True)
class Tally:
    """What became of the texts, in numbers."""

    texts: int = 0
    failed: int = 0
    cut: int = 0


def run(source: Source, output_path: str | None, arguments: ModelArguments, wish: Wish) -> int:
    """Read, compute, write.

    Returns:
        How many texts failed and were passed over.

    Raises:
        CommandError: A text failed, and none is to be passed over; what stood before it has been written.
    """
    with source.open() as content, open_output(output_path) as file:
        rows = read_rows(source, content, wish.keys)
        chunks = iter(lambda: list(islice(rows, CHUNK)), [])
        first = next(chunks, [])  # before the model is loaded: what cannot be read is told at once
        total = len(first) if len(first) < CHUNK else None
        with arguments.load() as llm, closing(Progress(shown=wish.progress, total=total)) as progress:
            results = (_embed(llm, chunk, wish, progress) for chunk in chain([first], chunks))
            tally = _write(results, _writer(file, source, llm, wish), file, skips=wish.skips)
    if not wish.quiet:
        _tell(source, llm, tally)
    return tally.failed


def _writer(file: BinaryIO, source: Source, llm: "LLM", wish: Wish) -> "Writer":
    from millpond_cli.writers import WRITERS, Layout  # noqa: PLC0415  needs numpy; --help does not

    layout = Layout(
        with_text=wish.with_text,
        with_id=source.has_fields,
        with_error=wish.skips,
        dimensions=wish.dimensions or llm.model_config.embedding_size,
    )
    return WRITERS[wish.format](file, layout)


def _write(chunks: "Iterable[list[Result]]", writer: "Writer", file: BinaryIO, *, skips: bool) -> Tally:
    tally = Tally()
    try:
        for results in chunks:
            failed = next((place for place, result in enumerate(results) if result.error), None)
            stop = None if skips else failed
            writer.write(results[:stop])
            file.flush()
            if stop is not None:
                raise _failure(results[stop])
            _count(tally, results)
        writer.finish()
        file.flush()
    finally:
        writer.release()
    return tally


def _embed(llm: "LLM", rows: Sequence[Row], wish: Wish, progress: Progress) -> "list[Result]":
    from millpond.params import PoolingParams  # noqa: PLC0415  needs pydantic; --help does not

    texts = [row.text for row in rows if not row.error]
    outputs = iter(
        llm.encode(
            texts,
            PoolingParams(dimensions=wish.dimensions, use_activation=wish.normalize),
            pooling_task=wish.task,
            truncate_prompt_tokens=-1 if wish.truncate else None,
            use_tqdm=progress.one_call,
            on_error="return",
        )
        if texts
        else ()
    )
    return [_result(row, None if row.error else next(outputs)) for row in rows]


def _result(row: Row, output: "PoolingRequestOutput[Any] | None") -> "Result":
    from millpond_cli.writers import Result  # noqa: PLC0415  needs numpy; --help does not

    if output is None:
        return Result(row=row, error=row.error)
    if output.error is not None:
        return Result(row=row, error=PLACE_IN_CALL.sub("", str(output.error), count=1))
    return Result(
        row=row,
        vector=output.outputs.array,
        num_tokens=output.num_prompt_tokens,
        num_dropped_tokens=output.num_dropped_tokens,
    )


def _failure(result: "Result") -> CommandError:
    hint = "--on-error skip passes over texts that fail"
    if TOO_LONG in result.error:
        hint = f"--truncate cuts texts that are too long, {hint}"
    return CommandError(f"{result.row.place}: {result.error}", hint=hint)


def _count(tally: Tally, results: "Sequence[Result]") -> None:
    tally.texts += len(results)
    for result in results:
        tally.cut += result.num_dropped_tokens > 0
        if result.error:
            tally.failed += 1
            warn(f"{result.row.place}: {result.error}")


def _tell(source: Source, llm: "LLM", tally: Tally) -> None:
    if not tally.texts:
        warn(f"{source.name} holds no text")
    if tally.failed:
        warn(f"{tally.failed} of {tally.texts} texts failed and have no vector")
    if tally.cut:
        warn(f"{tally.cut} of {tally.texts} texts were cut to {llm.model_config.max_model_len} tokens")
