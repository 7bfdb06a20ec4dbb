"""Files for the results of IO processor plugins: the bytes of one result, or an array of all results."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from millpond_cli.io.results import Layout, Result, Writer
from millpond_command.cli import CommandError
from millpond_recipes.json_values import as_array, as_bytes

JSONL_HINT = "--format jsonl supports any number of results, with bytes as base64"


class RawWriter(Writer):
    """Writes the only result of an IO processor plugin: bytes unchanged, or an array as an npy file."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._has_written = False

    def write(self, results: Sequence[Result]) -> None:
        """Write the result."""
        for result in (result for result in results if not result.error):
            if self._has_written:
                message = "raw supports only one result"
                raise CommandError(message, hint=f"pass one item; {JSONL_HINT}")
            self._has_written = True
            content = as_bytes(result.value)
            if content is not None:
                self._file.write(content)
                continue
            array = as_array(result.value)
            if array is None or array.dtype.hasobject:
                name = type(result.value).__name__
                message = f"{result.row.location}: raw supports bytes or an array; the result is {name}"
                raise CommandError(message, hint=JSONL_HINT)
            save_array(self._file, array)

    def finish(self) -> None:
        """Raise an error if there was no result."""
        if not self._has_written:
            message = "there is no result to write"
            raise CommandError(message)


class StackWriter(Writer):
    """Writes the arrays of an IO processor plugin as one npy array, [num_results, ...], in their own dtype."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._arrays: list[Any] = []

    def write(self, results: Sequence[Result]) -> None:
        """Keep the arrays: the file begins with their number."""
        for result in results:
            array = None if result.error else as_array(result.value)
            if array is None or array.dtype.hasobject:
                reason = "there is no result" if result.error else f"the result is {type(result.value).__name__}"
                message = f"{result.row.location}: npy requires an array for each item; {reason}"
                raise CommandError(message, hint=JSONL_HINT)
            first = self._arrays[0] if self._arrays else array
            if (array.shape, array.dtype) != (first.shape, first.dtype):
                message = (
                    f"{result.row.location}: npy requires arrays of the same shape and dtype; this one is "
                    f"{array.dtype} {list(array.shape)}, the first {first.dtype} {list(first.shape)}"
                )
                raise CommandError(message, hint=JSONL_HINT)
            self._arrays.append(array)

    def finish(self) -> None:
        """Write the file."""
        save_array(self._file, np.stack(self._arrays) if self._arrays else np.empty((0, 0), np.float32))


def save_array(file: BinaryIO, array: Any) -> None:
    """Write an array as an npy file. Unlike ``np.save``, this also works for a pipe."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    file.write(content.getbuffer())
