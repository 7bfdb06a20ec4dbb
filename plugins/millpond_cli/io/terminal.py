"""The format for a terminal: a table, or one line a text with the first numbers of its vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from millpond_cli.io.results import Layout, Result, Writer
from millpond_cli.io.tables import one_line, table

if TYPE_CHECKING:
    from millpond_cli.io.contents import Array

SHOWN_NUMBERS = 4


class TableWriter(Writer):
    """The columns of a layout, for all results; without columns, a line a result as soon as there is one."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._rows: list[Sequence[str]] = []

    def write(self, results: Sequence[Result]) -> None:
        """Write a line for each result, or keep its cells: the widths of columns are only known at the end."""
        columns = self._layout.columns
        for result in results:
            if columns is None:
                self._put(one_line(_line(result)))
            elif not result.error:
                self._rows.append(columns.row(result))

    def finish(self) -> None:
        """Write the table."""
        columns = self._layout.columns
        if columns is not None:
            self._put(table([columns.heading, *self._rows], right=columns.right))

    def _put(self, text: str) -> None:
        self._file.write(f"{text}\n".encode("utf-8", "backslashreplace"))


def _line(result: Result) -> str:
    """Number or id, first numbers, shape and text of a result."""
    name = result.row.index + 1 if result.row.id is None else result.row.id
    if result.value is None:
        return f"{name}  error: {result.error}"
    return f"{name}  {_summary(result.value)}  {result.row.text}"


def _summary(vector: "Array") -> str:
    """``[0.0123, -0.0456, ...] 384``, or ``6 x 384`` for one vector a token."""
    shape = " x ".join(map(str, vector.shape))
    numbers = [f"{number:.4f}" for number in vector.reshape(-1)[:SHOWN_NUMBERS].tolist()]
    return f"[{', '.join([*numbers, '...'] if vector.size > SHOWN_NUMBERS else numbers)}] {shape}"
