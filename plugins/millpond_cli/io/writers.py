"""Writers of JSONL, JSON, CSV, npy, npz and parquet, which write results as they arrive."""

import csv
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.lib.format as array_format

from millpond_cli.io.plugin_writers import RawWriter, StackWriter
from millpond_cli.io.results import ColumnsWriter, Layout, Result, Writer, cells_of
from millpond_cli.io.serializers import ValueSerializer
from millpond_cli.io.terminal import TableWriter

if TYPE_CHECKING:
    from millpond_cli.io.serializers import Array


class JsonLinesWriter(Writer):
    """Writes one JSON object per line."""

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        for result in results:
            self._file.write(_encoded(_object(result, self._layout) + "\n"))


class JsonWriter(Writer):
    """Writes a JSON list of objects."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._separator = "[\n"

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        for result in results:
            self._file.write(_encoded(self._separator + _object(result, self._layout)))
            self._separator = ",\n"

    def finish(self) -> None:
        """End the list."""
        self._file.write(b"[]\n" if self._separator == "[\n" else b"\n]\n")


class CsvWriter(ColumnsWriter):
    """Writes one record per text: index, id, text, num_tokens, error, then the columns of the result."""

    def _open(self, first: Any) -> None:
        size = (self._layout.dimensions or 0) if first is None else np.size(first)
        self._columns = [column.name for column in self._layout.serializer.columns(size)]
        self._write_record([*self._names(), *self._columns])

    def _write_rows(self, results: Sequence[Result]) -> None:
        for result in results:
            cells = cells_of(result)
            cells["truncated"] = "" if result.value is None else str(cells["truncated"]).lower()
            values = [""] * len(self._columns) if result.value is None else self._layout.serializer.cells(result)
            self._write_record([*(cells.get(name, "") for name in self._names()), *values])

    def _write_record(self, cells: Sequence[object]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(_encoded(line.getvalue()))


class NpyWriter(Writer):
    """Writes a float32 array, [num_texts, dim]. The row of a text that failed is NaN, so that indices agree."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._size: int | None = None
        self._num_rows = 0
        self._num_missing = 0
        # The header contains the number of rows. A file that cannot seek back to it is written at the end.
        self._array = file if file.seekable() and file.readable() else tempfile.TemporaryFile()  # noqa: SIM115
        self._array.write(npy_header((0, 0)))

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        for result in results:
            if result.value is None:
                self._num_missing += 1
            else:
                self._append(np.atleast_2d(result.value))

    def finish(self) -> None:
        """Write the number of rows into the header."""
        self._append(np.empty((0, self._size or self._layout.dimensions or 0), dtype=np.float32))
        self._array.seek(0)
        self._array.write(npy_header((self._num_rows, self._size or 0)))
        if self._array is self._file:
            self._array.seek(0, io.SEEK_END)
        else:
            self._array.seek(0)
            shutil.copyfileobj(self._array, self._file)

    def release(self) -> None:
        """Close the temporary file, if there is one."""
        if self._array is not self._file:
            self._array.close()

    def _append(self, rows: "Array") -> None:
        size = self._size = rows.shape[1]
        if self._num_missing:
            self._array.write(np.full((self._num_missing, size), np.nan, dtype="<f4").tobytes())
        self._array.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        self._num_rows += len(rows) + self._num_missing
        self._num_missing = 0


class NpzWriter(Writer):
    """Writes vectors of tokens as ``embeddings``, [num_tokens, dim], and ``offsets``, [num_texts + 1].

    The vectors of text i are ``embeddings[offsets[i]:offsets[i + 1]]``; a text that failed has none.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115  closed by release()
        self._embeddings = NpyWriter(self._rows, layout)
        self._offsets = [0]

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        self._embeddings.write([result for result in results if result.value is not None])
        for result in results:
            self._offsets.append(self._offsets[-1] + (0 if result.value is None else len(result.value)))

    def finish(self) -> None:
        """Write both arrays to the output file."""
        self._embeddings.finish()
        self._rows.seek(0)
        with zipfile.ZipFile(self._file, "w") as archive:
            with archive.open(f"{self._layout.array}.npy", "w", force_zip64=True) as member:
                shutil.copyfileobj(self._rows, member)
            with archive.open("offsets.npy", "w") as member:
                np.save(member, np.asarray(self._offsets, dtype=np.int64))

    def release(self) -> None:
        """Close the temporary file."""
        self._rows.close()


WRITERS: Final[Mapping[str, type[Writer]]] = {
    "jsonl": JsonLinesWriter,
    "json": JsonWriter,
    "csv": CsvWriter,
    "npy": NpyWriter,
    "npz": NpzWriter,
    "raw": RawWriter,
    "stack": StackWriter,
    "table": TableWriter,
}


def writer_of(file_format: str) -> type[Writer]:
    """Return the writer of a format."""
    if file_format == "parquet":
        from millpond_cli.io.parquet_writer import ParquetWriter  # noqa: PLC0415  imports pyarrow

        return ParquetWriter
    return WRITERS[file_format]


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the first 128 bytes of a float32 npy file; numpy pads them so that any shape fits."""
    header = io.BytesIO()
    array_format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _object(result: Result, layout: Layout) -> str:
    head: dict[str, Any] = {"rank": result.rank} if layout.with_rank else {}
    head["index"] = result.row.index
    if result.row.id is not None:
        head["id"] = result.row.id
    if layout.with_text:
        head |= {name: text for name, text in result.row.texts.items() if text and name in layout.texts}
    if result.value is None and (result.error or not isinstance(layout.serializer, ValueSerializer)):
        return json.dumps({**head, "error": result.error}, ensure_ascii=False)
    if result.num_tokens:
        head["num_tokens"] = result.num_tokens
    if result.num_dropped_tokens:
        head["num_dropped_tokens"] = result.num_dropped_tokens
    return f"{json.dumps(head, ensure_ascii=False)[:-1]}, {layout.serializer.json(result)}}}"


def _encoded(text: str) -> bytes:
    # A lone surrogate, which an id may contain, becomes its JSON escape.
    return text.encode("utf-8", "backslashreplace")
