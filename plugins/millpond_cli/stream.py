"""Rows to results to a file, piece by piece and in order: the work of the commands that run a model."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from millpond.types.errors import MissingDependencyError
from millpond_cli.arguments import load
from millpond_cli.asking import Ask
from millpond_cli.io.inputs import Input
from millpond_cli.io.interrupts import TerminatedError, ending_signals_raised
from millpond_cli.io.notes import Progress, warn
from millpond_cli.io.output import is_stdout, open_output
from millpond_cli.io.results import Layout, Result
from millpond_cli.io.rows import Row
from millpond_cli.options import Writing
from millpond_command.cli import PARTIAL, CommandError
from millpond_command.model_options import Running

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

CHUNK = 1024  # texts that are read, computed and written at a time
PLACE_IN_CALL = re.compile(r"prompt \d+: ")
TOO_LONG = "maximum context length"
SKIP = "--on-error skip passes over texts that fail"
NO_IMAGES = "reads text alone"


@dataclass(kw_only=True)
class Tally:
    """Counts of the texts that were served, that failed and that were cut."""

    texts: int = 0
    failed: int = 0
    cut: int = 0

    def add(self, results: Sequence[Result]) -> None:
        """Count some results, and report those that failed."""
        self.texts += len(results)
        for result in results:
            self.cut += result.num_dropped_tokens > 0
            if result.error:
                self.failed += 1
                warn(f"{result.row.place}: {result.error}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pass of a command over its rows: read, compute, write.

    Attributes:
        source: The rows.
        ask: Asks the model for the results of some rows, each of which has a text.
        model: The name of the model.
        running: The options of the model.
        writing: The options of the output.
        skips: True if rows that fail are passed over.
    """

    source: Input
    ask: Ask
    model: str
    running: Running
    writing: Writing
    skips: bool

    def write(
        self,
        kind: str,
        layout: "Callable[[LLM], Layout]",
        order: Callable[[Iterable[Result]], Sequence[Result]] | None = None,
    ) -> None:
        """Read, compute and write all rows.

        Args:
            kind: The format.
            layout: Returns what is written, for the loaded model.
            order: Puts all results in order before any is written; None writes them as they come.

        Raises:
            CommandError: A row failed, and none is passed over; results of the rows before it are written.
            typer.Exit: Some rows failed, and were passed over.
        """
        tally = Tally()
        with written_whole(self.writing.output_path) as file, self.source.rows() as rows:
            chunks = iter(lambda: list(islice(rows, CHUNK)), [])
            first = next(chunks, [])  # before the model is loaded: what cannot be read is reported at once
            total = (lambda: len(first)) if len(first) < CHUNK else self.source.count
            with (
                _counted_at_the_end(tally),
                load(self.model, self.running) as llm,
                closing(Progress(shown=self._shows_progress, total=total)) as progress,
            ):
                results = self._results(llm, chain([first], chunks), progress, tally)
                pieces = results if order is None else [order(chain.from_iterable(results))]
                _write(file, kind, layout(llm), pieces)
        if not self.writing.quiet:
            self._report(llm, tally)
        if tally.failed:
            raise typer.Exit(PARTIAL)

    @property
    def _shows_progress(self) -> bool | None:
        """True for a progress bar; None for one on a terminal."""
        return False if self.writing.quiet and self.writing.progress is None else self.writing.progress

    def _results(
        self, llm: "LLM", chunks: Iterable[list[Row]], progress: Progress, tally: Tally
    ) -> Iterator[Sequence[Result]]:
        """Yield the results in pieces; where no row is passed over, they end before the first that failed."""
        for rows in chunks:
            texts = [row for row in rows if not row.error]
            outputs = iter(self.ask(llm, texts, progress) if texts else ())
            results = [_result(row, None if row.error else next(outputs)) for row in rows]
            failed = next((place for place, result in enumerate(results) if result.error), None)
            if failed is not None and not self.skips:
                yield results[:failed]
                raise _failure(results[failed])
            yield results
            tally.add(results)
        progress.close()  # before a table is printed: the bar would stand on its first line

    def _report(self, llm: "LLM", tally: Tally) -> None:
        if not tally.texts:
            warn(f"{self.source.name} holds no text")
        if tally.failed:
            warn(f"{tally.failed} of {tally.texts} texts failed and have no result")
        if tally.cut:
            warn(f"{tally.cut} of {tally.texts} texts were cut to {llm.model_config.max_model_len} tokens")


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


def _write(file: BinaryIO, kind: str, layout: Layout, chunks: Iterable[Sequence[Result]]) -> None:
    """Write results as they come."""
    from millpond_cli.io.writers import WRITERS  # noqa: PLC0415  needs numpy; --help does not

    writer = WRITERS[kind](file, layout)
    try:
        for results in chunks:
            writer.write(results)
            file.flush()
        writer.finish()
        file.flush()
    finally:
        writer.release()


def _result(row: Row, output: "PoolingRequestOutput[Any] | None") -> Result:
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
    """Return the array of an output, unless it has more than an array."""
    return outputs if hasattr(outputs, "indices") else getattr(outputs, "array", outputs)


def _failure(result: Result) -> CommandError:
    if NO_IMAGES in result.error:  # so does every other image
        return CommandError(f"{result.row.place}: {result.error}", hint="--model names a model that reads images")
    ways = ["--truncate cuts texts that are too long"] if TOO_LONG in result.error else []
    ways += ["--on-overflow chunk embeds them in pieces"] if "'chunk'" in result.error and ways else []
    return CommandError(f"{result.row.place}: {result.error}", hint=", ".join([*ways, SKIP]))
