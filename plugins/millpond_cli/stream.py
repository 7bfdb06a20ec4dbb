"""The main loop of commands that run a model: reads rows, runs the model on chunks of them, and writes the results."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from millpond.types.errors import MissingDependencyError
from millpond_cli.arguments import load_model
from millpond_cli.io.formats import BINARY, TABLE
from millpond_cli.io.inputs import Input
from millpond_cli.io.interrupts import Interruption, TerminatedError, ending_signals_raised
from millpond_cli.io.notes import warn
from millpond_cli.io.output import is_stdout, open_output, refuse_input
from millpond_cli.io.results import Layout, Result
from millpond_cli.io.rows import Row
from millpond_cli.options import OutputOptions
from millpond_cli.row_runners import RowRunner
from millpond_command.cli import PARTIAL, CommandError
from millpond_command.model_options import RunOptions
from millpond_command.progress import Progress
from millpond_command.tables import is_terminal
from millpond_storage.files import write_json

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

ROWS_PER_CHUNK = 1024
MAX_ROWS_PER_ERROR = 3  # reported one by one, of all rows with the same error
PROMPT_NUMBER = re.compile(r"prompt \d+: ")
TOO_LONG = "maximum context length"
SKIP_HINT = "--on-error skip skips texts that fail"
NO_IMAGES = "accepts only text"
FORMATS_WITHOUT_DIMENSIONS = (TABLE, "jsonl", "json")
"""Formats whose output for an empty input does not depend on the model."""


@dataclass(kw_only=True)
class Tally:
    """Numbers of texts that were read, that failed, and that were truncated."""

    texts: int = 0
    failed: int = 0
    truncated: int = 0
    rows_by_error: Counter[str] = field(default_factory=Counter)

    def add(self, results: Sequence[Result]) -> None:
        """Add results, and report those that failed, except most of those with the same error."""
        self.texts += len(results)
        for result in results:
            self.truncated += result.num_dropped_tokens > 0
            if result.error:
                self.failed += 1
                self.rows_by_error[result.error] += 1
                if self.rows_by_error[result.error] <= MAX_ROWS_PER_ERROR:
                    warn(f"{result.row.location}: {result.error}")

    def report_others(self) -> None:
        """Report the number of rows of each error that were not reported one by one."""
        for error, count in self.rows_by_error.items():
            if count > MAX_ROWS_PER_ERROR:
                warn(f"{count - MAX_ROWS_PER_ERROR} more rows: {error}")


@dataclass(frozen=True)
class Job:
    """One run of a command over its input.

    Attributes:
        source: The input.
        runner: Runs the model on rows without an error.
        model: The name of the model.
        run_options: The options of the model.
        output_options: The options of the output.
        skip_failed: True to skip rows that fail.
    """

    source: Input
    runner: RowRunner
    model: str
    run_options: RunOptions
    output_options: OutputOptions
    skip_failed: bool = field(kw_only=True)

    def write(
        self,
        file_format: str,
        layout: "Callable[[LLM], Layout]",
        order: Callable[[Iterable[Result]], Sequence[Result]] | None = None,
    ) -> None:
        """Read all rows, run the model on them and write the results.

        Args:
            file_format: The output format.
            layout: Returns the layout of the output for the loaded model.
            order: Sorts all results before they are written; None to write each chunk at once.

        Raises:
            CommandError: A row failed and is not skipped; the results of earlier rows are written.
            typer.Exit: Some rows failed and were skipped.
        """
        tally = Tally()
        refuse_input(self.output_options.output_path, self.source.files)
        with (
            ending_signals_raised() as interruption,
            open_atomically(self.output_options.output_path) as file,
            closing(self.source.rows()) as rows,
        ):
            chunks = iter(lambda: list(islice(rows, ROWS_PER_CHUNK)), [])
            first = next(chunks, [])  # read before the model is loaded, to report unreadable input at once
            if not first and file_format in FORMATS_WITHOUT_DIMENSIONS:
                _write(file, file_format, Layout(), [], nullcontext)
                self._warn_if_empty(tally)
                return
            total = (lambda: len(first)) if len(first) < ROWS_PER_CHUNK else self.source.count
            with (
                _count_reported_on_signal(tally, interruption),
                load_model(self.model, self.run_options) as llm,
                closing(Progress(shown=self.output_options.shows_progress, total=total)) as progress,
            ):
                results = self._results(llm, chain([first], chunks), progress, tally, interruption)
                ordered = results if order is None else [order(chain.from_iterable(results))]
                pause = progress.paused if self._shows_results else nullcontext
                shown = layout(llm)
                _write(file, file_format, shown, ordered, pause)
        if file_format in BINARY and shown.space is not None:
            _write_space(self.output_options.output_path, shown.space)
        if not self.output_options.quiet:
            self._warn(llm, tally)
        if tally.failed:
            raise typer.Exit(PARTIAL)

    @property
    def _shows_results(self) -> bool:
        """True if results are written to a terminal, which may also show the progress."""
        return is_stdout(self.output_options.output_path) and is_terminal()

    def _results(
        self,
        llm: "LLM",
        chunks: Iterable[list[Row]],
        progress: Progress,
        tally: Tally,
        interruption: Interruption,
    ) -> Iterator[Sequence[Result]]:
        """Yield the results of each chunk. Unless failed rows are skipped, end before the first of them."""
        for rows in chunks:
            interruption.check()
            valid = [row for row in rows if not row.error]
            outputs = iter(self.runner(llm, valid, progress) if valid else ())
            results = [_result(row, None if row.error else next(outputs)) for row in rows]
            failed = next((index for index, result in enumerate(results) if result.error), None)
            if failed is not None and not self.skip_failed:
                yield results[:failed]
                raise _failure(results[failed])
            yield results
            tally.add(results)
        progress.finish()  # before a table is printed

    def _warn_if_empty(self, tally: Tally) -> None:
        if not tally.texts and not self.output_options.quiet:
            warn(f"{self.source.name} contains no text")

    def _warn(self, llm: "LLM", tally: Tally) -> None:
        self._warn_if_empty(tally)
        if tally.failed:
            tally.report_others()
            warn(f"{tally.failed} of {tally.texts} texts failed and have no result")
        if tally.truncated:
            warn(f"{tally.truncated} of {tally.texts} texts were truncated to {llm.model_config.max_model_len} tokens")


@contextmanager
def open_atomically(path: str | None) -> Iterator[BinaryIO]:
    """Open the output, see ``open_output``; if a signal ends the command, report that the file was not written."""
    try:
        with open_output(path) as file:
            yield file
    except (KeyboardInterrupt, TerminatedError):
        if not is_stdout(path):
            warn(f"{path} was not written")
        raise


@contextmanager
def _count_reported_on_signal(tally: Tally, interruption: Interruption) -> Iterator[None]:
    """Report the number of completed texts if a signal ends the command, and raise its exception."""
    try:
        yield
    except BaseException as error:
        signalled = interruption.of(error)
        if signalled is None:
            raise
        name = signalled.name if isinstance(signalled, TerminatedError) else "Ctrl-C"
        warn(f"interrupted by {name} after {tally.texts} texts")
        if signalled is error:
            raise
        raise signalled from error


def _write(
    file: BinaryIO,
    file_format: str,
    layout: Layout,
    chunks: Iterable[Sequence[Result]],
    pause: Callable[[], AbstractContextManager[None]],
) -> None:
    """Write the results of each chunk as soon as they are available, while the progress is paused."""
    from millpond_cli.io.writers import writer_of  # noqa: PLC0415  imports numpy, which --help does not need

    writer = writer_of(file_format)(file, layout)
    try:
        for results in chunks:
            with pause():
                writer.write(results)
                file.flush()
        writer.finish()
        file.flush()
    finally:
        writer.release()


def _write_space(path: str | None, descriptor: Mapping[str, Any]) -> None:
    """Write the descriptor of a space beside a file of vectors, whose format has no place for it."""
    if path is not None and Path(path).is_file():
        from millpond_checkpoints.space import SIDECAR_SUFFIX  # noqa: PLC0415  not needed by --help

        write_json(Path(path).with_suffix(SIDECAR_SUFFIX), descriptor)


def _result(row: Row, output: "PoolingRequestOutput[Any] | None") -> Result:
    if output is None:
        return Result(row=row, error=row.error)
    if isinstance(output.error, MissingDependencyError):  # fails every row, so skipping rows does not help
        raise CommandError(output.error.message)
    if output.error is not None:
        return Result(row=row, error=PROMPT_NUMBER.sub("", str(output.error), count=1))
    return Result(
        row=row,
        value=_value_of(output.outputs),
        num_tokens=output.num_prompt_tokens,
        num_dropped_tokens=output.num_dropped_tokens,
        token_ids=output.prompt_token_ids,
    )


def _value_of(outputs: Any) -> Any:
    """Return the array of an output, or the output itself if it has more than an array."""
    return outputs if hasattr(outputs, "indices") else getattr(outputs, "array", outputs)


def _failure(result: Result) -> CommandError:
    if NO_IMAGES in result.error:  # every other image would fail, too
        return CommandError(f"{result.row.location}: {result.error}", hint="use --model with a model that reads images")
    hints = ["--truncate truncates long texts"] if TOO_LONG in result.error else []
    hints += ["--on-overflow chunk embeds them in chunks"] if "'chunk'" in result.error and hints else []
    return CommandError(f"{result.row.location}: {result.error}", hint=", ".join([*hints, SKIP_HINT]))
