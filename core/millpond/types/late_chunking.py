"""Late chunking of ``token_embed``: one vector for each chunk of N tokens, and where the chunks are in the text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class LateChunkingParams:
    """The size of the chunks of a text that the model reads whole.

    Attributes:
        chunk_size: The number of tokens of a chunk, special tokens included; the last chunk may have fewer.
    """

    chunk_size: int

    def __post_init__(self) -> None:
        if type(self.chunk_size) is not int or self.chunk_size < 1:
            message = f"chunk_size must be a positive integer; got {self.chunk_size!r}"
            raise InvalidInputError(message, parameter="late_chunking_params")


@dataclass(frozen=True)
class LateChunk:
    """One chunk.

    Attributes:
        token_range: Its tokens, from one up to another.
        char_range: Its characters in the text, likewise; None for a chunk of special tokens alone.
    """

    token_range: tuple[int, int]
    char_range: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class LateChunkingMetadata:
    """Describes the chunks of one text by their places.

    Attributes:
        chunk_size: The size that was asked for.
        input_tokens: The number of tokens of the text.
        chunks: The chunks, in their order.
    """

    chunk_size: int
    input_tokens: int
    chunks: tuple[LateChunk, ...]


def late_chunks(offsets: "Sequence[tuple[int, int]]", chunk_size: int) -> LateChunkingMetadata:
    """Return where the chunks of a text are.

    Args:
        offsets: The characters of each token, from one up to another; empty ranges for special tokens.
        chunk_size: The number of tokens of a chunk.
    """
    chunks = []
    for start in range(0, len(offsets), chunk_size):
        own = offsets[start : start + chunk_size]
        written = [(first, last) for first, last in own if first < last]
        characters = (min(first for first, _ in written), max(last for _, last in written)) if written else None
        chunks.append(LateChunk((start, start + len(own)), characters))
    return LateChunkingMetadata(chunk_size=chunk_size, input_tokens=len(offsets), chunks=tuple(chunks))
