"""What comes back: one request output a prompt, around arrays that become lists only when asked."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from millpond.types.errors import MillpondError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch

    from millpond.types.late_chunking import LateChunkingMetadata

T = TypeVar("T")


class ArrayOutput:
    """A pooled result: float32 numpy, on the host.

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

    def __array__(self, dtype: "np.typing.DTypeLike | None" = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """The values, so that ``np.asarray(output)`` and ``np.stack(outputs)`` work."""
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
    def from_base(cls, output: "ArrayOutput") -> Self:
        """The same values as this type of output; of a sparse one, those of the whole vocabulary."""
        return cls(output.dense() if isinstance(output, SparseEmbeddingOutput) else output.array)


class PoolingOutput(ArrayOutput):
    """The bare result of a pooling task."""

    __slots__ = ()

    @property
    def data(self) -> "torch.Tensor":
        """The values as a float32 tensor on the CPU."""
        import torch

        return torch.from_numpy(self.array)

    def __repr__(self) -> str:
        return f"PoolingOutput(shape={tuple(self.array.shape)})"


class LateChunksOutput(PoolingOutput):
    """The vectors of the chunks of a text, [num_chunks, dim], for ``late_chunking_params``.

    Attributes:
        late_chunking: Where the chunks are.
    """

    __slots__ = ("late_chunking",)

    def __init__(
        self,
        array: "np.ndarray[Any, Any] | Sequence[float]",
        *,
        late_chunking: "LateChunkingMetadata | None" = None,
    ) -> None:
        super().__init__(array)
        self.late_chunking = late_chunking


class EmbeddingOutput(ArrayOutput):
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


class SparseEmbeddingOutput(ArrayOutput):
    """The tokens of the vocabulary that have a weight, by their ids in ascending order.

    Attributes:
        indices: Their ids, numpy int64, [num_terms].
        size: How many tokens the vocabulary has: the dimensions of the vector.
        tokens: The same as text, if that was asked for; else None.
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
        """Hold weights.

        Args:
            array: The weights of the tokens; without ``indices``, those of the whole vocabulary, of which the ones that
                are not 0 are kept.
            indices: The ids of the tokens.
            size: How many tokens the vocabulary has, where ``indices`` are given.
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
        """The weight of each, numpy float32, [num_terms]."""
        return self.array

    @property
    def num_terms(self) -> int:
        """How many tokens have a weight."""
        return len(self.array)

    def dense(self) -> "np.ndarray[Any, Any]":
        """The weights of the whole vocabulary, numpy float32, [size]."""
        import numpy as np

        whole = np.zeros(self.size, dtype=np.float32)
        whole[self.indices] = self.array
        return whole

    def _values(self) -> "np.ndarray[Any, Any]":
        return self.dense()

    def top(self, count: int) -> "list[tuple[int, float]]":
        """The ids of the heaviest tokens with their weights, heaviest first; of equals the lower id goes first."""
        import numpy as np

        order = np.argsort(-self.array, kind="stable")[:count]
        return [(int(self.indices[place]), float(self.array[place])) for place in order]

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
        start: Its first character.
        end: The character behind its last.
        text: What stands there.
    """

    __slots__ = ("end", "start", "text")

    def __init__(
        self, array: "np.ndarray[Any, Any] | Sequence[float]", *, start: int = 0, end: int = 0, text: str = ""
    ) -> None:
        super().__init__(array)
        self.start, self.end, self.text = start, end, text

    def __repr__(self) -> str:
        return f"ChunkEmbedding(start={self.start}, end={self.end}, hidden_size={self.hidden_size})"


class ChunksOutput(ArrayOutput):
    """The embeddings of the chunks of one text, [num_chunks, hidden_size]; iterating gives each ``ChunkEmbedding``.

    Attributes:
        spans: The characters of each chunk, from one up to another.
        text: The text.
    """

    __slots__ = ("spans", "text")
    ndim = 2
    misfit = "pooled_data should be one embedding vector a chunk"

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

    def __getitem__(self, place: int) -> ChunkEmbedding:
        start, end = self.spans[place]
        return ChunkEmbedding(self.array[place], start=start, end=end, text=self.text[start:end])

    def __iter__(self) -> "Iterator[ChunkEmbedding]":
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"ChunksOutput(num_chunks={self.array.shape[0]}, hidden_size={self.array.shape[1]})"


class ClassificationOutput(ArrayOutput):
    """The probabilities of the classes of one prompt, [num_classes]."""

    __slots__ = ()
    ndim = 1
    misfit = "pooled_data should be a 1-D probability vector"

    @property
    def probs(self) -> list[float]:
        """The probabilities as a list; logits where the activation was left out."""
        values: list[float] = self.array.tolist()
        return values

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.array)

    def __repr__(self) -> str:
        return f"ClassificationOutput(num_classes={self.num_classes})"


class ScoringOutput(ArrayOutput):
    """How well two texts go together: a scalar."""

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
    """Several results of one prompt, in the order in which they were asked for."""

    results: "tuple[ArrayOutput, ...]"

    def __repr__(self) -> str:
        return f"RepresentationsOutput({', '.join(map(repr, self.results))})"


@dataclass(kw_only=True)
class PoolingRequestOutput(Generic[T]):
    """What became of one prompt.

    Attributes:
        request_id: The id of the request within its ``LLM``.
        outputs: The result; None if ``error`` is set.
        prompt_token_ids: The ids that the model read; empty where an IO processor plugin made the prompts.
        num_cached_tokens: Always 0, there is no cache of prefixes.
        finished: Always True.
        error: Why there is no result; only with ``on_error="return"``.
        num_dropped_tokens: How many tokens truncation cut off; at least so many of a text so long that only a part of
            it was tokenised.
    """

    request_id: str
    outputs: T
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True
    error: MillpondError | None = None
    num_dropped_tokens: int = 0

    def __array__(self, dtype: "np.typing.DTypeLike | None" = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        """The values of ``outputs``, so that ``np.stack(llm.embed(texts))`` is one array.

        Raises:
            MillpondError: The error of a prompt that has no result.
            TypeError: The result is not an array.
        """
        if self.error is not None:
            raise self.error
        if not isinstance(self.outputs, ArrayOutput):
            message = f"{type(self.outputs).__name__} is not an array of numbers"
            raise TypeError(message)
        return self.outputs.__array__(dtype, copy)

    @property
    def num_prompt_tokens(self) -> int:
        """How many tokens the model read."""
        return len(self.prompt_token_ids)

    @property
    def late_chunking(self) -> "LateChunkingMetadata | None":
        """Where the chunks are whose vectors ``late_chunking_params`` asked for; else None."""
        return self.outputs.late_chunking if isinstance(self.outputs, LateChunksOutput) else None

    @property
    def truncated(self) -> bool:
        """Whether tokens were cut off."""
        return self.num_dropped_tokens > 0


class EmbeddingRequestOutput(PoolingRequestOutput[EmbeddingOutput]):
    """What became of one prompt of ``LLM.embed``."""


class SparseEmbeddingRequestOutput(PoolingRequestOutput[SparseEmbeddingOutput]):
    """What became of one prompt of ``LLM.embed_sparse``."""


class ChunksRequestOutput(PoolingRequestOutput[ChunksOutput]):
    """What became of one text of ``LLM.embed_chunks``; ``prompt_token_ids`` are those of the whole text."""


class ClassificationRequestOutput(PoolingRequestOutput[ClassificationOutput]):
    """What became of one prompt of ``LLM.classify``."""


class ScoringRequestOutput(PoolingRequestOutput[ScoringOutput]):
    """What became of one pair of ``LLM.score``; ``prompt_token_ids`` are those of both texts."""


class RepresentationsRequestOutput(PoolingRequestOutput[RepresentationsOutput]):
    """What became of one prompt of ``LLM.represent``."""


def __getattr__(name: str) -> object:
    """Return an output type of a plugin's task, which was here before 0.2."""
    found: object = import_module("millpond.compat.exports").moved_type(__name__, name)
    return found
