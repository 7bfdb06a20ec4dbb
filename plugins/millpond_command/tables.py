"""Tables for a terminal, formatted by rich without colours, and tab-separated values for pipes."""

import io
import shutil
from collections.abc import Sequence
from typing import Literal

from millpond.plugin.output import results
from millpond_command.cli import printable

UNLIMITED_WIDTH = 10**6  # columns; lines in a pipe or a file are neither cut nor wrapped
PADDING = 2
MIN_LAST_COLUMN = 6
MAX_MIN_WIDTH = 40  # narrower tables are not cut to the width of a terminal, except for their last column


def is_terminal() -> bool:
    """Return True if stdout is a terminal."""
    stdout = results()
    return stdout is not None and stdout.isatty()


def table(
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    wraps: bool = False,
    first: int = 0,
    width: int | None = None,
) -> str:
    """Return rows as aligned columns, two spaces apart.

    On a terminal, long cells of the last column are cut or wrapped at its edge.

    Args:
        rows: The cells; the first row may be a heading.
        right: The indices of columns that are aligned to the right.
        wraps: True to wrap long cells of the last column instead of cutting them.
        first: The minimum width of the first column.
        width: The width of the table; None for the width of the terminal, or unlimited for a pipe or a file.
    """
    from rich.console import Console  # noqa: PLC0415  not needed by --help
    from rich.table import Table  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415  as above

    num_columns = max(map(len, rows), default=0)
    grid = Table.grid(padding=(0, PADDING, 0, 0))
    for column in range(num_columns):
        last = column == num_columns - 1
        justify: Literal["right", "left"] = "right" if column in right else "left"
        grid.add_column(justify=justify, no_wrap=not last, min_width=0 if column else first)
    for row in rows:
        cells = [printable(cell.replace("\n", " ")) for cell in row]
        grid.add_row(*(Text(cell, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis") for cell in cells))
    if width is None:
        width = max(shutil.get_terminal_size().columns, _min_width(rows)) if is_terminal() else UNLIMITED_WIDTH
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, force_jupyter=False, legacy_windows=False).print(grid)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _min_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the width below which a table would lose whole columns: rich removes them from narrow terminals."""
    num_columns = max(map(len, rows), default=0)
    widths = [max(len(row[index]) for row in rows if index < len(row)) + PADDING for index in range(num_columns - 1)]
    return min(sum(widths) + MIN_LAST_COLUMN, MAX_MIN_WIDTH)


def one_line(text: str) -> str:
    """Return a text on one line, cut at the edge of the terminal."""
    from rich.text import Text  # noqa: PLC0415  not needed by --help

    line = Text(printable(text.replace("\n", " ")))
    if is_terminal():
        line.truncate(max(shutil.get_terminal_size().columns, MIN_LAST_COLUMN), overflow="ellipsis")
    return line.plain


def tab_separated(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as tab-separated lines. Tabs and line ends inside cells are escaped."""
    escapes = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
    return "\n".join("\t".join(cell.translate(escapes) for cell in row) for row in rows)
