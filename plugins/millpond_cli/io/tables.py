"""Plain tables for a terminal, and tab-separated values for a program. No colours, no Rich."""

import shutil
import unicodedata
from collections.abc import Sequence

from millpond.plugin.output import results
from millpond_command.cli import printable


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    stdout = results()
    return stdout is not None and stdout.isatty()


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned columns, two spaces apart; the last column is cut at the edge of a terminal.

    Args:
        rows: The cells; the first row may be a heading.
        right: The columns that are aligned to the right.
    """
    cells = [[printable(cell.replace("\n", " ")) for cell in row] for row in rows]
    columns = range(max(map(len, cells), default=0))
    widths = [max(width(row[column]) for row in cells if column < len(row)) for column in columns]
    lines = [_line(row, widths, right) for row in cells]
    if is_terminal():
        edge = shutil.get_terminal_size().columns
        lines = [shortened(line, edge) for line in lines]
    return "\n".join(lines)


def tab_separated(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of cells between tabs; tabs and line ends inside a cell are spelled out."""
    spelled = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
    return "\n".join("\t".join(cell.translate(spelled) for cell in row) for row in rows)


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_width_of(character) for character in text)


def shortened(text: str, most: int) -> str:
    """The text, cut to so many columns of a terminal."""
    if width(text) <= most:
        return text
    kept, taken = [], 1  # the ellipsis
    for character in text:
        taken += _width_of(character)
        if taken > most:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = []
    for column, cell in enumerate(row):
        space = " " * (widths[column] - width(cell))
        padded.append(space + cell if column in right else cell + space)
    return "  ".join(padded).rstrip()


def _width_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
