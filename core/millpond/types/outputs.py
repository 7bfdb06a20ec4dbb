"""Outputs: one request output per prompt, with arrays that are converted to lists on access."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from millpond.types.errors import MillpondError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch

    from millpond.types.late_chunking import LateChunkingMetadata

T = TypeVar("T")


class PoolingOutput:
    """The result of a pooling task: a float32 numpy array.

    Attributes:
        array: The values.
    """

    __slots__ = ("array",)
    ndim: ClassVar[int | None] = None
    misfit: ClassVar[str] = ""

    def __init__(self, array: "np.ndarray[Any, Any] | Sequence[float]") -> None:
        import numpy as np

        self.array = np.asarray(array, dtype=np.float32)
        if self.ndim is not None and self.array.ndim != self.ndim:
            raise ValueError(self.misfit)

    @property
    def data(self) -> "torch.Tensor":
        """The values as a float32 tensor on the CPU."""
        import torch

        return torch.from_numpy(self._values())

    def __array__(self, dtype: "np.typing.DTypeLike | None" = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """Return the values, for ``np.asarray(output)`` and ``np.stack(outputs)``."""
        import numpy as np

        values = self._values()
        return np.array(values, dtype=dtype) if copy else np.asarray(values, dtype=dtype)

    def _values(self) -> "np.ndarray[Any, Any]":
        return self.array

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        import numpy as np

        return bool(np.array_equal(self.array, other.array))

    __hash__ = None  # type: ignore[assignment]  # arrays are mutable

    @classmethod
    def from_base(cls, output: "PoolingOutput") -> Self:
        """Convert an output to this type; a sparse output becomes dense."""
        return cls(output.__array__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.array.shape)})"


class EmbeddingOutput(PoolingOutput):
    """One embedding, [hidden_size]."""

    __slots__ = ()
    ndim = 1
    misfit = "pooled_data should be a 1-D embedding vector"

    @property
    def embedding(self) -> list[float]:
        """The embedding as a list."""
        values: list[float] = self.array.tolist()
        return values

    @property
    def hidden_size(self) -> int:
        """The number of dimensions."""
        return len(self.array)

    def __repr__(self) -> str:
        return f"EmbeddingOutput(hidden_size={self.hidden_size})"


class TokenEmbeddingsOutput(EmbeddingOutput):
    """The token vectors of one prompt, [num_vectors, hidden_size], or the vectors of its chunks.

    Attributes:
        late_chunking: The ranges of the chunks, for ``late_chunking_params``; None for vectors of tokens.
    """

    __slots__ = ("late_chunking",)
    ndim = 2
    misfit = "pooled_data should be one embedding vector per token"

    def __init__(
        self,
        array: "np.ndarray[Any, Any] | Sequence[float]",
        *,
        late_chunking: "LateChunkingMetadata | None" = None,
    ) -> None:
        super().__init__(array)
        self.late_chunking = late_chunking

    @property
    def embedding(self) -> list[Any]:
        """The vectors as a list of lists of floats."""
        values: list[list[float]] = self.array.tolist()
        return values

    @property
    def hidden_size(self) -> int:
        """The number of dimensions of each vector."""
        return int(self.array.shape[1])

    def __repr__(self) -> str:
        return f"TokenEmbeddingsOutput(num_vectors={len(self.array)}, hidden_size={self.hidden_size})"


class SparseEmbeddingOutput(PoolingOutput):
    """The non-zero weights of a sparse vector over a vocabulary, in ascending order of token ids.

    Attributes:
        indices: The token ids, numpy int64, [num_terms].
        size: The size of the vocabulary, which is the number of dimensions.
        tokens: The tokens as text, if requested; else None.
    """

    __slots__ = ("indices", "size", "tokens")
    ndim = 1
    misfit = "pooled_data should be the weights of a vocabulary's tokens"

    def __init__(
        self,
        array: "np.ndarray[Any, Any] | Sequence[float]",
        *,
        indices: "np.ndarray[Any, Any] | Sequence[int] | None" = None,
        size: int | None = None,
        tokens: "Sequence[str] | None" = None,
    ) -> None:
        """Create a sparse vector.

        Args:
            array: The weights of the tokens; without ``indices``, the weights of the whole vocabulary.
            indices: The ids of the tokens.
            size: The size of the vocabulary, if ``indices`` are passed.
            tokens: The tokens as text.
        """
        import numpy as np

        super().__init__(array)
        if indices is None:
            self.size = len(self.array)
            self.indices = np.flatnonzero(self.array)
            self.array = self.array[self.indices]
        else:
            self.indices = np.asarray(indices, dtype=np.int64)
            self.size = int(self.indices.max(initial=-1)) + 1 if size is None else size
        self.tokens = None if tokens is None else tuple(tokens)

    @property
    def values(self) -> "np.ndarray[Any, Any]":
        """The weights, numpy float32, [num_terms]."""
        return self.array

    @property
    def num_terms(self) -> int:
        """The number of non-zero weights."""
        return len(self.array)

    def dense(self) -> "np.ndarray[Any, Any]":
        """Return the weights of the whole vocabulary, numpy float32, [size]."""
        import numpy as np

        whole = np.zeros(self.size, dtype=np.float32)
        whole[self.indices] = self.array
        return whole

    def _values(self) -> "np.ndarray[Any, Any]":
        return self.dense()

    def top(self, count: int) -> "list[tuple[int, float]]":
        """Return the ids and weights of the tokens with the largest weights, sorted by weight, then by id."""
        import numpy as np

        order = np.argsort(-self.array, kind="stable")[:count]
        return [(int(self.indices[index]), float(self.array[index])) for index in order]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseEmbeddingOutput):
            return NotImplemented
        import numpy as np

        return self.size == other.size and all(
            np.array_equal(one, two) for one, two in ((self.indices, other.indices), (self.array, other.array))
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"SparseEmbeddingOutput(num_terms={self.num_terms}, size={self.size})"


class ChunkEmbedding(EmbeddingOutput):
    """The embedding of a chunk of a text, [hidden_size].

    Attributes:
        start: The index of its first character.
        end: The index after its last character.
        text: Its text.
    """

    __slots__ = ("end", "start", "text")

    def __init__(
        self, array: "np.ndarray[Any, Any] | Sequence[float]", *, start: int = 0, end: int = 0, text: str = ""
    ) -> None:
        super().__init__(array)
        self.start, self.end, self.text = start, end, text

    def __repr__(self) -> str:
        return f"ChunkEmbedding(start={self.start}, end={self.end}, hidden_size={self.hidden_size})"


class ChunksOutput(PoolingOutput):
    """The embeddings of the chunks of one text, [num_chunks, hidden_size]; iterating yields each ``ChunkEmbedding``.

    Attributes:
        spans: The character range of each chunk, (start, end).
        text: The text.
    """

    __slots__ = ("spans", "text")
    ndim = 2
    misfit = "pooled_data should be one embedding vector per chunk"

    def __init__(
        self,
        array: "np.ndarray[Any, Any] | Sequence[float]",
        *,
        spans: "Sequence[tuple[int, int]]" = (),
        text: str = "",
    ) -> None:
        super().__init__(array)
        self.spans, self.text = tuple(spans), text

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> ChunkEmbedding:
        start, end = self.spans[index]
        return ChunkEmbedding(self.array[index], start=start, end=end, text=self.text[start:end])

    def __iter__(self) -> "Iterator[ChunkEmbedding]":
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"ChunksOutput(num_chunks={self.array.shape[0]}, hidden_size={self.array.shape[1]})"


class ClassificationOutput(PoolingOutput):
    """The probabilities of the classes of one prompt, [num_classes]."""

    __slots__ = ()
    ndim = 1
    misfit = "pooled_data should be a 1-D probability vector"

    @property
    def probs(self) -> list[float]:
        """The probabilities as a list; logits if the activation was not applied."""
        values: list[float] = self.array.tolist()
        return values

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.array)

    def __repr__(self) -> str:
        return f"ClassificationOutput(num_classes={self.num_classes})"


class ScoringOutput(PoolingOutput):
    """The score of two texts: a scalar."""

    __slots__ = ()
    ndim = 0
    misfit = "pooled_data should be a scalar score"

    @property
    def score(self) -> float:
        """The score as a number."""
        return float(self.array)

    def __repr__(self) -> str:
        return f"ScoringOutput(score={self.score})"


@dataclass(frozen=True, slots=True)
class RepresentationsOutput:
    """Several results of one prompt, in the requested order."""

    results: "tuple[PoolingOutput, ...]"

    def __repr__(self) -> str:
        return f"RepresentationsOutput({', '.join(map(repr, self.results))})"


@dataclass(kw_only=True)
class PoolingRequestOutput(Generic[T]):
    """The result of one prompt.

    Attributes:
        request_id: The id of the request within its ``LLM``.
        outputs: The result; None if ``error`` is set.
        prompt_token_ids: The token ids that the model read; empty if an IO processor plugin created the prompts.
        num_cached_tokens: Always 0: there is no prefix cache.
        finished: Always True.
        error: The reason for a missing result; only with ``on_error="return"``.
        num_dropped_tokens: The number of tokens that truncation removed; a lower bound for texts so long that only a
            part was tokenized.
    """

    request_id: str
    outputs: T
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True
    error: MillpondError | None = None
    num_dropped_tokens: int = 0

    def __array__(self, dtype: "np.typing.DTypeLike | None" = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """Return the values of ``outputs``, for ``np.stack(llm.embed(texts))``.

        Raises:
            MillpondError: The error of a prompt without a result.
            TypeError: If the result is not an array.
        """
        if self.error is not None:
            raise self.error
        if not isinstance(self.outputs, PoolingOutput):
            message = f"{type(self.outputs).__name__} is not an array of numbers"
            raise TypeError(message)
        return self.outputs.__array__(dtype, copy)

    @property
    def num_prompt_tokens(self) -> int:
        """The number of tokens that the model read."""
        return len(self.prompt_token_ids)

    @property
    def late_chunking(self) -> "LateChunkingMetadata | None":
        """The chunks requested with ``late_chunking_params``; else None."""
        return self.outputs.late_chunking if isinstance(self.outputs, TokenEmbeddingsOutput) else None

    @property
    def truncated(self) -> bool:
        """True if truncation removed tokens."""
        return self.num_dropped_tokens > 0


class EmbeddingRequestOutput(PoolingRequestOutput[EmbeddingOutput]):
    """The result of one prompt of ``LLM.embed``; ``outputs`` of token vectors is a ``TokenEmbeddingsOutput``."""


class SparseEmbeddingRequestOutput(PoolingRequestOutput[SparseEmbeddingOutput]):
    """The result of one prompt of ``LLM.embed_sparse``."""


class ChunksRequestOutput(PoolingRequestOutput[ChunksOutput]):
    """The result of one text of ``LLM.embed_chunks``; ``prompt_token_ids`` are those of the whole text."""


class ClassificationRequestOutput(PoolingRequestOutput[ClassificationOutput]):
    """The result of one prompt of ``LLM.classify``."""


class ScoringRequestOutput(PoolingRequestOutput[ScoringOutput]):
    """The result of one pair of ``LLM.score``; ``prompt_token_ids`` are those of both texts."""


class RepresentationsRequestOutput(PoolingRequestOutput[RepresentationsOutput]):
    """The result of one prompt of ``LLM.represent``."""
