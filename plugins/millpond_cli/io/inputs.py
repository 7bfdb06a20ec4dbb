"""Inputs of commands: rows of one or two texts, from arguments, stdin or a file."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from millpond_cli.io.rows import Keys, Row, choose_keys, count_rows, open_rows
from millpond_cli.io.source import Source, choose_source, refuse_files
from millpond_cli.options import TextInputOptions
from millpond_command.cli import USAGE, CommandError


@dataclass(frozen=True, kw_only=True)
class Input:
    """The rows that a command reads.

    Attributes:
        name: The name of the input in messages.
        rows: Opens the input and yields its rows.
        files: The paths or descriptors of the files that are read.
        has_fields: True if rows may have an id.
        count: Returns the number of rows, or None if counting them would consume the input.
    """

    name: str
    rows: Callable[[], Generator[Row]]
    files: tuple[Path | int, ...] = ()
    has_fields: bool = False
    count: Callable[[], int | None] = lambda: None

    @classmethod
    def of(cls, source: Source, keys: Keys) -> "Input":
        """Return the input for a source."""
        return cls(
            name=source.name,
            rows=lambda: open_rows(source, keys),
            files=source.files,
            has_fields=source.has_fields,
            count=lambda: count_rows(source),
        )


def texts_of(
    texts: Sequence[str] | None,
    input_options: TextInputOptions,
    *,
    default_keys: Keys | None = None,
    text_pair_key: str | None = None,
    may_be_files: bool = False,
) -> Input:
    """Return the texts of a command.

    Args:
        texts: The texts that are arguments.
        input_options: The options of the input.
        default_keys: The fields of a row, for options that are not set.
        text_pair_key: The field of a second text, which is then required in each row.
        may_be_files: True if arguments may be the paths of files, such as images.

    Raises:
        CommandError: There are no texts, more than one source of texts, or a path instead of a text.
    """
    if not may_be_files:
        refuse_files(texts or ())
    source = choose_source(texts or (), input_options.input_path, input_options.input_format)
    keys = choose_keys(
        source,
        text_key=input_options.text_key,
        id_key=input_options.id_key,
        text_pair_key=text_pair_key,
        default_keys=default_keys,
    )
    return Input.of(source, keys)


def with_second_text(source: Input, text: str) -> Input:
    """Return the same texts, each with a second text.

    Raises:
        CommandError: A row has a second text already.
    """
    return replace(source, rows=lambda: (_paired(row, text) for row in source.rows()))


def _paired(row: Row, text: str) -> Row:
    if row.text_pair is not None:
        message = f"{row.location} has a second text, so --text-pair cannot be used"
        raise CommandError(message, hint="remove --text-pair", exit_code=USAGE)
    return replace(row, text_pair=text)
