"""Tables for a terminal, laid out by rich without colours, and tab-separated values for a program."""

import io
import shutil
from collections.abc import Sequence
from typing import Literal

from millpond.plugin.output import results
from millpond_command.cli import printable

UNLIMITED_COLUMNS = 10**6  # of a pipe or a file: nothing is cut or wrapped there


def is_terminal() -> bool:
    """True if stdout is a terminal."""
    stdout = results()
    return stdout is not None and stdout.isatty()


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), wraps: bool = False, first: int = 0) -> str:
    """Return rows as aligned columns, two spaces apart.

    On a terminal, the last column is cut at its edge, or continued on the next line. Elsewhere lines are whole.

    Args:
        rows: The cells; the first row may be a heading.
        right: The columns that are aligned to the right.
        wraps: True if long cells of the last column continue on the next line.
        first: The minimum width of the first column.
    """
    from rich.console import Console  # noqa: PLC0415  --help does without
    from rich.table import Table  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415  as above

    num_columns = max(map(len, rows), default=0)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in range(num_columns):
        last = column == num_columns - 1
        justify: Literal["right", "left"] = "right" if column in right else "left"
        grid.add_column(justify=justify, no_wrap=not last, min_width=0 if column else first)
    for row in rows:
        cells = [printable(cell.replace("\n", " ")) for cell in row]
        grid.add_row(*(Text(cell, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis") for cell in cells))
    width = shutil.get_terminal_size().columns if is_terminal() else UNLIMITED_COLUMNS
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, force_jupyter=False, legacy_windows=False).print(grid)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def one_line(text: str) -> str:
    """Return a text on one line, cut at the edge of a terminal."""
    from rich.text import Text  # noqa: PLC0415  --help does without

    line = Text(printable(text.replace("\n", " ")))
    if is_terminal():
        line.truncate(shutil.get_terminal_size().columns, overflow="ellipsis")
    return line.plain


def tab_separated(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of cells between tabs; tabs and line ends inside a cell become escapes."""
    escapes = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
    return "\n".join("\t".join(cell.translate(escapes) for cell in row) for row in rows)
