"""The output format ``table``, for a terminal: columns, or one line per text with the first values of its vector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from millpond_cli.io.results import Layout, Result, Writer
from millpond_command.tables import one_line, table

if TYPE_CHECKING:
    from millpond_cli.io.serializers import Array

SHOWN_VALUES = 4


class TableWriter(Writer):
    """Writes the columns of the layout; for a layout without columns, one line per result without delay."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._rows: list[Sequence[str]] = []

    def write(self, results: Sequence[Result]) -> None:
        """Write a line for each result, or keep its cells until the widths of all columns are known."""
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
    """Return the number or id, the first values, the shape and the text of a result."""
    name = result.row.index + 1 if result.row.id is None else result.row.id
    if result.value is None:
        return f"{name}  error: {result.error}"
    return f"{name}  {_summary(result.value)}  {result.row.text}"


def _summary(vector: "Array") -> str:
    """Return ``[0.0123, -0.0456, ...] 384``; the shape is ``6 x 384`` for one vector per token."""
    shape = " x ".join(map(str, vector.shape))
    values = [f"{value:.4f}" for value in vector.reshape(-1)[:SHOWN_VALUES].tolist()]
    return f"[{', '.join([*values, '...'] if vector.size > SHOWN_VALUES else values)}] {shape}"
