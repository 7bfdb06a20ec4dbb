"""Files for the results of IO processor plugins: the bytes of one result, or an array of all results."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from millpond.types.json_values import as_array, as_bytes
from millpond_cli.io.results import Layout, Result, Writer
from millpond_command.cli import CommandError

HOLDS_MANY = "--format jsonl holds any number of results, with bytes as base64"


class RawWriter(Writer):
    """The one result of an IO processor plugin: its bytes as they are, an array as a file of NumPy."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._has_written = False

    def write(self, results: Sequence[Result]) -> None:
        """Write the result."""
        for result in (result for result in results if not result.error):
            if self._has_written:
                message = "raw holds one result, and there are more"
                raise CommandError(message, hint=f"pass one item, or {HOLDS_MANY}")
            self._has_written = True
            content = as_bytes(result.value)
            if content is not None:
                self._file.write(content)
                continue
            array = as_array(result.value)
            if array is None or array.dtype.hasobject:
                message = (
                    f"{result.row.place}: raw holds bytes or an array; the result is {type(result.value).__name__}"
                )
                raise CommandError(message, hint=HOLDS_MANY)
            save_array(self._file, array)

    def finish(self) -> None:
        """Refuse to write nothing."""
        if not self._has_written:
            message = "there is no result to write"
            raise CommandError(message)


class StackWriter(Writer):
    """The arrays of an IO processor plugin as one, [num_results, ...], in their own dtype."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._arrays: list[Any] = []

    def write(self, results: Sequence[Result]) -> None:
        """Keep the arrays: their number stands at the beginning of the file."""
        for result in results:
            array = None if result.error else as_array(result.value)
            if array is None or array.dtype.hasobject:
                found = "there is none" if result.error else f"the result is {type(result.value).__name__}"
                message = f"{result.row.place}: npy holds an array for each item; {found}"
                raise CommandError(message, hint=HOLDS_MANY)
            first = self._arrays[0] if self._arrays else array
            if (array.shape, array.dtype) != (first.shape, first.dtype):
                message = (
                    f"{result.row.place}: npy holds arrays of one shape and dtype; this one is {array.dtype} "
                    f"{list(array.shape)}, the first {first.dtype} {list(first.shape)}"
                )
                raise CommandError(message, hint=HOLDS_MANY)
            self._arrays.append(array)

    def finish(self) -> None:
        """Write the file."""
        save_array(self._file, np.stack(self._arrays) if self._arrays else np.empty((0, 0), np.float32))


def save_array(file: BinaryIO, array: Any) -> None:
    """Write an array as a file of NumPy; to a pipe as well, which ``np.save`` alone does not."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    file.write(content.getbuffer())
