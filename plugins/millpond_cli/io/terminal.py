"""The format of vectors on a terminal: one line a text, with the first numbers of its vector."""

import shutil
from collections.abc import Sequence
from typing import BinaryIO

from millpond_cli.io.contents import Array
from millpond_cli.io.tables import is_terminal, shortened
from millpond_cli.io.writers import Layout, Result
from millpond_command.cli import printable

SHOWN_NUMBERS = 4


class VectorLinesWriter:
    """Number, shape, first numbers and text of each result, cut at the edge of a terminal."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        for result in results:
            line = printable(self._line(result).replace("\n", " "))
            if is_terminal():
                line = shortened(line, shutil.get_terminal_size().columns)
            self._file.write(f"{line}\n".encode("utf-8", "backslashreplace"))

    def finish(self) -> None:
        """Nothing is left to write."""

    def release(self) -> None:
        """There is nothing to release."""

    def _line(self, result: Result) -> str:
        name = result.row.index + 1 if result.row.id is None else result.row.id
        if result.value is None:
            return f"{name}  error: {result.error}"
        return f"{name}  {_summary(result.value)}  {result.row.text}"


def _summary(vector: Array) -> str:
    """``[0.0123, -0.0456, ...] 384``, or ``6 x 384`` for one vector a token."""
    shape = " x ".join(map(str, vector.shape))
    numbers = [f"{number:.4f}" for number in vector.reshape(-1)[:SHOWN_NUMBERS].tolist()]
    return f"[{', '.join([*numbers, '...'] if vector.size > SHOWN_NUMBERS else numbers)}] {shape}"
