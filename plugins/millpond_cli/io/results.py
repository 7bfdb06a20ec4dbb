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
