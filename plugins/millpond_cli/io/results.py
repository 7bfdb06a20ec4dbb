"""Results of rows, and what is written of them. Imports no numpy: commands choose a layout before a model is loaded."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from millpond_cli.io.contents import Content, Numbers
from millpond_cli.io.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a row.

    Attributes:
        row: The row.
        value: The output: most often a vector, [dim], or one a token, [num_tokens, dim]; None if the row failed.
        num_tokens: The number of tokens that the model read; 0 where it is unknown.
        num_dropped_tokens: The number of tokens that were cut off.
        error: The reason for a missing result.
        token_ids: The ids that the model read; empty where they are unknown.
        rank: Its place in the order of all results, from 1; 0 where there is no order.
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
        heading: Their names.
        row: Returns the cells of a result.
        right: The columns that are aligned to the right.
    """

    heading: Sequence[str]
    row: Callable[[Result], Sequence[str]]
    right: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The parts of a result that are written.

    Attributes:
        with_text: Write the text.
        with_id: Write a column for the id, where columns must be known from the start.
        with_error: Write a column for the error, likewise.
        dimensions: The size of a vector, as far as the model states it; for results without any vector.
        content: The form of a result.
        texts: The texts of a row that are written.
        with_rank: Write the place in the order of all results.
        array: The name of the array in npz.
        columns: The columns of a table; None for a line of the first numbers of each vector.
    """

    with_text: bool = False
    with_id: bool = False
    with_error: bool = False
    dimensions: int | None = None
    content: Content = field(default_factory=Numbers)
    texts: Sequence[str] = ("text",)
    with_rank: bool = False
    array: str = "embeddings"
    columns: Columns | None = None


class Writer(ABC):
    """Writes results to a file, in order."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    @abstractmethod
    def write(self, results: Sequence[Result]) -> None:
        """Write some results."""

    def finish(self) -> None:  # noqa: B027  most writers have nothing left to write
        """Write what is only known at the end."""

    def release(self) -> None:  # noqa: B027  most writers have no temporary file
        """Close temporary files, also after an error. The file that is written to stays open."""
