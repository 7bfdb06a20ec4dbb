"""Inputs of commands: the rows that the command line names, with one text or two texts each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from millpond_cli.io.rows import Keys, Row, choose_keys, count_rows, open_rows
from millpond_cli.io.source import Source, choose_source, refuse_files
from millpond_cli.options import ReadingTexts
from millpond_command.cli import USAGE, CommandError


@dataclass(frozen=True, kw_only=True)
class Input:
    """The rows that a command reads.

    Attributes:
        name: Its name in messages.
        rows: Opens them.
        has_fields: True if a row may have an id.
        count: Returns the number of rows, where that is known without using them up.
    """

    name: str
    rows: Callable[[], AbstractContextManager[Iterator[Row]]]
    has_fields: bool = False
    count: Callable[[], int | None] = lambda: None

    @classmethod
    def of(cls, source: Source, keys: Keys) -> "Input":
        """Return the rows of a source."""
        return cls(
            name=source.name,
            rows=lambda: open_rows(source, keys),
            has_fields=source.has_fields,
            count=lambda: count_rows(source),
        )


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
    """Return the same texts, each with a second one.

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
