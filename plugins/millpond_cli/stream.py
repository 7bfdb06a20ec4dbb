"""From rows to results to a file, piece by piece and in order: what the commands that run a model do."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from millpond.types.errors import MissingDependencyError
from millpond_cli.arguments import load
from millpond_cli.ask import Ask
from millpond_cli.io.formats import TABLE
from millpond_cli.io.interrupts import TerminatedError, ending_signals_raised
from millpond_cli.io.notes import Progress, warn
from millpond_cli.io.output import is_stdout, open_output
from millpond_cli.io.rows import Keys, Row, choose_keys, count_rows, open_rows
from millpond_cli.io.source import Source, choose_source, refuse_files
from millpond_cli.options import ReadingTexts, Writing
from millpond_command.cli import PARTIAL, USAGE, CommandError
from millpond_command.model_options import Running

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput
    from millpond_cli.io.writers import Layout, Result

CHUNK = 1024  # texts that are read, computed and written at a time
PLACE_IN_CALL = re.compile(r"prompt \d+: ")
TOO_LONG = "maximum context length"
SKIP = "--on-error skip passes over texts that fail"
NO_IMAGES = "reads text alone"


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a command reads.

    Attributes:
        name: Its name in messages.
        rows: Opens it.
        has_fields: True if a row may have an id.
        count: Returns the number of rows, where that can be told without using them up.
    """

    name: str
    rows: Callable[[], AbstractContextManager[Iterator[Row]]]
    has_fields: bool = False
    count: Callable[[], int | None] = lambda: None

    @classmethod
    def of(cls, source: Source, keys: Keys) -> "Input":
        """The rows of a source."""
        return cls(
            name=source.name,
            rows=lambda: open_rows(source, keys),
            has_fields=source.has_fields,
            count=lambda: count_rows(source),
        )


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done with rows.

    Attributes:
        model: The name of the model.
        running: How it is loaded.
        ask: Asks it for the results of some rows, none of which is at fault.
        skips: Whether a row that fails is passed over.
        quiet: Whether notes are kept back.
        progress: Whether there is a progress bar; None for on a terminal.
    """

    model: str
    running: Running
    ask: Ask
    skips: bool
    quiet: bool
    progress: bool | None


@dataclass(kw_only=True)
class Tally:
    """What became of the texts, in numbers."""

    texts: int = 0
    failed: int = 0
    cut: int = 0

    def add(self, results: "Sequence[Result]") -> None:
        """Count some results, and tell those that failed."""
        self.texts += len(results)
        for result in results:
            self.cut += result.num_dropped_tokens > 0
            if result.error:
                self.failed += 1
                warn(f"{result.row.place}: {result.error}")


Sink = Callable[["LLM", "Iterable[list[Result]]"], None]


def texts_of(
    texts: Sequence[str] | None,
    reading: ReadingTexts,
    *,
    plain: Keys | None = None,
    text_pair_key: str | None = None,
    may_be_files: bool = False,
) -> Input:
    """Return the texts that the command line names.

    Args:
        texts: Those on the command line itself.
        reading: The other places that they may be in.
        plain: The fields of a row, where the command line does not name them.
        text_pair_key: The field of a second text that each row must have.
        may_be_files: True if arguments may be the names of files, as those of images are.

    Raises:
        CommandError: It names no texts, two sources of them, or a file in place of a text.
    """
    if not may_be_files:
        refuse_files(texts or ())
    source = choose_source(texts or (), reading.input_path, reading.input_format)
    keys = choose_keys(
        source, text_key=reading.text_key, id_key=reading.id_key, text_pair_key=text_pair_key, plain=plain
    )
    return Input.of(source, keys)


def with_second_text(source: Input, text: str) -> Input:
    """The same texts, each with a second one.

    Raises:
        CommandError: A row has a second text of its own.
    """

    @contextmanager
    def rows() -> Iterator[Iterator[Row]]:
        with source.rows() as texts:
            yield (_paired(row, text) for row in texts)

    return replace(source, rows=rows)


def _paired(row: Row, text: str) -> Row:
    if row.text_pair is not None:
        message = f"{row.place} has a second text, and --text-pair is another"
        raise CommandError(message, hint="leave --text-pair out", exit_code=USAGE)
    return replace(row, text_pair=text)


def work_of(model: str, running: Running, writing: Writing, ask: Ask, *, skips: bool) -> Work:
    """What is done with rows, by what was typed."""
    progress = False if writing.quiet and writing.progress is None else writing.progress
    return Work(model=model, running=running, ask=ask, skips=skips, quiet=writing.quiet, progress=progress)


def run(source: Input, work: Work, sink: Sink) -> None:
    """Read, compute, and hand what comes of it on.

    Args:
        source: Where rows come from.
        work: What is done with them.
        sink: Takes the model, and the results in pieces. Where none is to be passed over, they end before the first
            that failed.

    Raises:
        CommandError: A row failed, and none is to be passed over; what stood before it has gone to the sink.
        typer.Exit: Some failed, and were passed over.
    """
    tally = Tally()
    with source.rows() as rows:
        chunks = iter(lambda: list(islice(rows, CHUNK)), [])
        first = next(chunks, [])  # before the model is loaded: what cannot be read is told at once
        total = (lambda: len(first)) if len(first) < CHUNK else source.count
        with (
            _counted_at_the_end(tally),
            load(work.model, work.running) as llm,
            closing(Progress(shown=work.progress, total=total)) as progress,
        ):
            sink(llm, _results(llm, chain([first], chunks), work, progress, tally))
    if not work.quiet:
        _tell(source, llm, tally)
    if tally.failed:
        raise typer.Exit(PARTIAL)


def write(source: Input, work: Work, path: str | None, kind: str, layout: "Callable[[LLM], Layout]") -> None:
    """Read, compute, write; see ``run``.

    Args:
        source: Where rows come from.
        work: What is done with them.
        path: The file; None or ``-`` for stdout.
        kind: The format.
        layout: What is written, by the model.
    """
    with written_whole(path) as file:
        run(source, work, lambda llm, chunks: write_results(file, kind, layout(llm), chunks))


@contextmanager
def written_whole(path: str | None) -> Iterator[BinaryIO]:
    """Open the output; see ``open_output``. A command that a signal ends reports that the file was not written."""
    with ending_signals_raised():
        try:
            with open_output(path) as file:
                yield file
        except (KeyboardInterrupt, TerminatedError):
            if not is_stdout(path):
                warn(f"{path} was not written")
            raise


@contextmanager
def _counted_at_the_end(tally: Tally) -> Iterator[None]:
    """Report how far a command has come that a signal ends."""
    try:
        yield
    except (KeyboardInterrupt, TerminatedError) as ending:
        name = ending.name if isinstance(ending, TerminatedError) else "Ctrl-C"
        warn(f"ended by {name} after {tally.texts} texts")
        raise


def write_results(file: BinaryIO, kind: str, layout: "Layout", chunks: "Iterable[Sequence[Result]]") -> None:
    """Write results as they come.

    Args:
        file: Where to.
        kind: The format.
        layout: What is written.
        chunks: The results, in pieces.
    """
    from millpond_cli.io.terminal import VectorLinesWriter  # noqa: PLC0415  needs numpy; --help does not
    from millpond_cli.io.writers import WRITERS  # noqa: PLC0415  as above

    writer = (VectorLinesWriter if kind == TABLE else WRITERS[kind])(file, layout)
    try:
        for results in chunks:
            writer.write(results)
            file.flush()
        writer.finish()
        file.flush()
    finally:
        writer.release()


def _results(
    llm: "LLM", chunks: Iterable[list[Row]], work: Work, progress: Progress, tally: Tally
) -> "Iterator[list[Result]]":
    for rows in chunks:
        results = _ask(llm, rows, work.ask, progress)
        failed = next((place for place, result in enumerate(results) if result.error), None)
        if failed is not None and not work.skips:
            yield results[:failed]
            raise _failure(results[failed])
        yield results
        tally.add(results)
    progress.close()  # before a table is printed: the bar would stand on its first line


def _ask(llm: "LLM", rows: Sequence[Row], ask: Ask, progress: Progress) -> "list[Result]":
    good = [row for row in rows if not row.error]
    outputs = iter(ask(llm, good, progress) if good else ())
    return [_result(row, None if row.error else next(outputs)) for row in rows]


def _result(row: Row, output: "PoolingRequestOutput[Any] | None") -> "Result":
    from millpond_cli.io.writers import Result  # noqa: PLC0415  needs numpy; --help does not

    if output is None:
        return Result(row=row, error=row.error)
    if isinstance(output.error, MissingDependencyError):  # it fails every row: skipping rows is not a way out
        raise CommandError(output.error.message)
    if output.error is not None:
        return Result(row=row, error=PLACE_IN_CALL.sub("", str(output.error), count=1))
    return Result(
        row=row,
        value=_value_of(output.outputs),
        num_tokens=output.num_prompt_tokens,
        num_dropped_tokens=output.num_dropped_tokens,
        token_ids=output.prompt_token_ids,
    )


def _value_of(outputs: Any) -> Any:
    """The array of an output, unless that is not all of it."""
    return outputs if hasattr(outputs, "indices") else getattr(outputs, "array", outputs)


def _failure(result: "Result") -> CommandError:
    if NO_IMAGES in result.error:  # so does every other image
        return CommandError(f"{result.row.place}: {result.error}", hint="--model names a model that reads images")
    ways = ["--truncate cuts texts that are too long"] if TOO_LONG in result.error else []
    ways += ["--on-overflow chunk embeds them in pieces"] if "'chunk'" in result.error and ways else []
    return CommandError(f"{result.row.place}: {result.error}", hint=", ".join([*ways, SKIP]))


def _tell(source: Input, llm: "LLM", tally: Tally) -> None:
    if not tally.texts:
        warn(f"{source.name} holds no text")
    if tally.failed:
        warn(f"{tally.failed} of {tally.texts} texts failed and have no result")
    if tally.cut:
        warn(f"{tally.cut} of {tally.texts} texts were cut to {llm.model_config.max_model_len} tokens")
