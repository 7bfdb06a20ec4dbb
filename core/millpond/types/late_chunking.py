"""Late chunking of ``token_embed``: one vector for each chunk of N tokens, with the ranges of the chunks."""

from dataclasses import dataclass

from millpond.types.errors import InvalidInputError


@dataclass(frozen=True)
class LateChunkingParams:
    """The chunk size for late chunking, in which the model reads the whole text.

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
        token_range: Its tokens, (start, end).
        char_range: Its characters in the text, (start, end); None for a chunk with only special tokens.
    """

    token_range: tuple[int, int]
    char_range: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class LateChunkingMetadata:
    """The chunks of one text.

    Attributes:
        chunk_size: The requested size.
        input_tokens: The number of tokens of the text.
        chunks: The chunks in order.
    """

    chunk_size: int
    input_tokens: int
    chunks: tuple[LateChunk, ...]
