"""Results of rows, their layout, and the base class of writers. Does not import numpy, which --help does not need."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from millpond_cli.io.rows import Row
from millpond_cli.io.serializers import Serializer, VectorSerializer


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a row.

    Attributes:
        row: The row.
        value: The output: usually a vector, [dim], or one per token, [num_tokens, dim]; None if the row failed.
        num_tokens: The number of tokens in the prompt; 0 if it is unknown.
        num_dropped_tokens: The number of tokens that were removed by truncation.
        error: The reason for a missing result, or "".
        token_ids: The token ids of the prompt; empty if they are unknown.
        rank: The rank in the order of all results, from 1; 0 if results are not ranked.
    """

    row: Row
    value: Any = None
    num_tokens: int = 0
    num_dropped_tokens: int = 0
    error: str = ""
    token_ids: Sequence[int] = ()
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of the format ``table``.

    Attributes:
        heading: The names of the columns.
        row: Returns the cells of a result.
        right: The indices of columns that are aligned to the right.
    """

    heading: Sequence[str]
    row: Callable[[Result], Sequence[str]]
    right: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The parts of a result that are written.

    Attributes:
        with_text: Write the texts of the row.
        with_id: Write a column for the id, in CSV.
        with_error: Write a column for the error, in CSV.
        with_dropped: Write the columns num_dropped_tokens and truncated, in CSV and parquet.
        dimensions: The size of a vector, used if no row has a vector; None if the model does not specify it.
        serializer: The serializer of a result.
        texts: The names of the texts that are written.
        with_rank: Write the rank.
        array: The name of the array in npz.
        space: The descriptor of the vectors' space, for parquet and in a file beside npy and npz; None to omit it.
        columns: The columns of a table; None for lines with the first values of each vector.
    """

    with_text: bool = False
    with_id: bool = False
    with_error: bool = False
    with_dropped: bool = False
    dimensions: int | None = None
    serializer: Serializer = field(default_factory=VectorSerializer)
    texts: Sequence[str] = ("text",)
    with_rank: bool = False
    array: str = "embeddings"
    columns: Columns | None = None
    space: Mapping[str, Any] | None = None


class Writer(ABC):
    """Writes results to a file, in order."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    @abstractmethod
    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""

    def finish(self) -> None:  # noqa: B027  most writers do not need it
        """Write the end of the file."""

    def release(self) -> None:  # noqa: B027  most writers have no temporary file
        """Close temporary files, also after an error. The output file stays open."""


class ColumnsWriter(Writer):
    """Base class of formats with columns, which the first result determines. Results before it are kept until then."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._pending: list[Result] = []
        self._is_open = False

    @abstractmethod
    def _open(self, first: Any) -> None:
        """Write the columns, from the value of the first result; None if there is no result."""

    @abstractmethod
    def _write_rows(self, results: Sequence[Result]) -> None:
        """Write the rows of some results."""

    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""
        self._pending += results
        first = next((result.value for result in self._pending if result.value is not None), None)
        if self._is_open or first is not None:
            self._write_pending(first)

    def finish(self) -> None:
        """Write the columns and the failed rows of an input without a result."""
        self._write_pending(None)

    def _write_pending(self, first: Any) -> None:
        if not self._is_open:
            self._open(first)
        self._is_open, pending, self._pending = True, self._pending, []
        self._write_rows(pending)

    def _names(self) -> list[str]:
        """Return the names of the columns before those of the result."""
        layout = self._layout
        optional = {"rank": layout.with_rank, "id": layout.with_id, "error": layout.with_error}
        texts = layout.texts if layout.with_text else ()
        dropped = ("num_dropped_tokens", "truncated") if layout.with_dropped else ()
        names = ("rank", "index", "id", *texts, "num_tokens", *dropped, "error")
        return [name for name in names if optional.get(name, True)]


def cells_of(result: Result) -> dict[str, Any]:
    """Return the values of the columns before those of the result; None for those that are unknown."""
    num_dropped = None if result.value is None else result.num_dropped_tokens
    return {
        "rank": result.rank,
        "index": result.row.index,
        "id": result.row.id,
        **result.row.texts,
        "num_tokens": result.num_tokens or None,
        "num_dropped_tokens": num_dropped,
        "truncated": None if num_dropped is None else num_dropped > 0,
        "error": result.error or None,
    }
