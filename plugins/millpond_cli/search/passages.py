"""Passages of a source: the rows of a file, or the paragraphs of the text files in a folder."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from millpond_cli.io.rows import Row, choose_keys, open_rows
from millpond_cli.io.source import STDIN, choose_source
from millpond_command.cli import USAGE, CommandError

MARKDOWN = (".md", ".markdown")
TEXT_SUFFIXES = (".txt", *MARKDOWN)
MAX_PASSAGE_CHARS = 800  # 200 tokens of English; small models read 256
HEADING = re.compile(r"#{1,6}\s")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The passages that are searched.

    Attributes:
        name: The name of the source in messages.
        rows: Opens the source and yields its passages.
        files: Returns the files of the source; none for stdin, which has no index.
        path: The file or folder; None for stdin.
        settings: The options that determine the passages of a file.
    """

    name: str
    rows: Callable[[], Generator[Row]]
    files: Callable[[], list[Path]]
    path: Path | None
    settings: tuple[str | None, ...] = ()

    def short(self, location: str) -> str:
        """Return a location without the name of the source, for a table."""
        return location.removeprefix(f"{self.name}, ").removeprefix(f"{self.name.rstrip('/')}/")


def open_corpus(source: str, *, input_format: str | None, text_key: str | None, id_key: str | None) -> Corpus:
    """Return the passages of a file, of a folder, or of stdin for ``-``.

    Raises:
        CommandError: The source does not exist, or an option does not apply to it.
    """
    path = Path(source)
    if source != STDIN and not path.exists():
        message = f"{source}: no such file or folder"
        raise CommandError(
            message, hint="pass the query first, then the file: millpond search QUERY FILE", exit_code=USAGE
        )
    if source != STDIN and (path.is_dir() or (path.suffix.lower() in MARKDOWN and input_format is None)):
        return _texts(source, path, (input_format, text_key, id_key))
    rows = choose_source([], source, input_format)
    keys = choose_keys(rows, text_key=text_key, id_key=id_key)
    return Corpus(
        name=rows.name,
        rows=lambda: open_rows(rows, keys),
        files=lambda: [] if rows.path is None else [rows.path],
        path=rows.path,
        settings=(rows.format, text_key, id_key),
    )


def _texts(source: str, path: Path, options: tuple[str | None, ...]) -> Corpus:
    if any(options):
        message = "--input-format, --text-key and --id-key are for files with one text per row"
        raise CommandError(message, hint=f"remove them, or pass a file instead of {source}", exit_code=USAGE)
    is_folder = path.is_dir()

    def files() -> list[Path]:
        return find_texts(path) if is_folder else [path]

    return Corpus(
        name=source,
        rows=lambda: _numbered(read_passages(files())),
        files=files,
        path=path,
    )


def find_texts(folder: Path) -> list[Path]:
    """Return the text and Markdown files in a folder and its subfolders, sorted; hidden ones are left out."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_passages(files: Iterable[Path]) -> Iterator[Row]:
    """Yield the passages of text files: paragraphs, of which short ones are joined.

    A passage has at most `MAX_PASSAGE_CHARS` characters, and a heading begins a new one. Its location is the file and
    the number of its first line.
    """
    for file in files:
        text = file.read_bytes().decode("utf-8-sig", "replace")
        for line, passage in split_passages(text):
            yield Row(0, f"{file}, line {line}", passage)


def split_passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line, from 1, and the text of each passage."""
    start, parts, size = 1, list[str](), 0
    for line, paragraph in _paragraphs(text):
        if parts and (size + len(paragraph) > MAX_PASSAGE_CHARS or HEADING.match(paragraph)):
            yield start, "\n\n".join(parts)
            parts, size = [], 0
        start = start if parts else line
        parts.append(paragraph)
        size += len(paragraph) + 2
    if parts:
        yield start, "\n\n".join(parts)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line and the text of each paragraph, or of each piece of a long one."""
    start, lines = 1, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        is_long = lines and sum(map(len, lines)) + len(line) > MAX_PASSAGE_CHARS
        if lines and (not line.strip() or is_long):
            yield from ((start, piece) for piece in _pieces("\n".join(lines)))
            lines = []
        if line.strip():
            start = start if lines else number
            lines.append(line)


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of at most the maximum size, separated at spaces where possible."""
    while len(text) > MAX_PASSAGE_CHARS:
        end = text.rfind(" ", 1, MAX_PASSAGE_CHARS + 1)
        end = end if end > 0 else MAX_PASSAGE_CHARS
        yield text[:end]
        text = text[end:].lstrip()
    if text:
        yield text


def _numbered(rows: Iterable[Row]) -> Generator[Row]:
    return (Row(index, row.location, row.text) for index, row in enumerate(rows))
