"""PairEncoder: base class for encoders of pairs as one sequence, and the length limits of pairs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from millpond.context import TaskContext
from millpond.model.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond_io.scoring.options import PairOptions
from millpond_io.text.excerpts import excerpt, head
from millpond_io.text.lengths import Lengths, max_characters

Pair: TypeAlias = tuple[str, str]
Ids: TypeAlias = list[int]
LENGTH_HINT = "Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1."


@dataclass(frozen=True)
class EncodedPair:
    """The token ids of a pair, their segment ids if the model uses them, and the number of removed tokens."""

    input_ids: Ids
    token_type_ids: Ids | None = None
    num_dropped_tokens: int = 0

    def with_dropped(self, num_tokens: int) -> "EncodedPair":
        """Return the pair with a larger number of removed tokens."""
        return replace(self, num_dropped_tokens=self.num_dropped_tokens + num_tokens) if num_tokens else self


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The maximum length of a pair and of its texts.

    Attributes:
        maximum: The model's maximum length, in tokens.
        kept: The number of tokens that pairs are truncated to; None to refuse pairs longer than the maximum.
        side: The side of truncation, "left" or "right".
        query: The number of tokens that queries are truncated to first; 0 for no limit.
        document: The number of tokens that documents are truncated to first; 0 for no limit.
    """

    maximum: int
    kept: int | None = None
    side: str = "right"
    query: int = 0
    document: int = 0

    @classmethod
    def of(cls, params: PoolingParams, options: PairOptions, ctx: TaskContext) -> "Limits":
        """Return the limits for a call and a model.

        Raises:
            InvalidInputError: If the requested truncation is zero, or larger than the model's maximum.
        """
        return cls(
            maximum=ctx.model.max_model_len,
            kept=Lengths(ctx).kept(params, is_text=False),
            side=params.truncation_side or "right",
            query=options.max_tokens_per_query,
            document=options.max_tokens_per_doc,
        )

    def check(self, num_tokens: int) -> None:
        """Check the length of a pair.

        Raises:
            InvalidInputError: If it exceeds the model's maximum length.
        """
        if num_tokens > self.maximum:
            message = (
                f"This model's maximum context length is {self.maximum} tokens. However, your prompt contains "
                f"{num_tokens} input tokens, those of the query and of the document. {LENGTH_HINT}"
            )
            raise InvalidInputError(message, parameter="data_2")


class PairEncoder(ABC):
    """Encodes each pair as one sequence.

    Attributes:
        truncates_queries: True if queries are truncated, too, when a pair is too long.
    """

    truncates_queries = False

    def __init__(self, tokenizer: Tokenizer, limits: Limits) -> None:
        self.tokenizer = tokenizer
        self.limits = limits

    @abstractmethod
    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair | InvalidInputError]:
        """Return the sequence of each pair within the limits, or its error."""

    def encode_many(self, pairs: Sequence[Pair]) -> list[EncodedPair | InvalidInputError]:
        """Return the sequence of each pair of texts of any length, or its error."""
        results: list[EncodedPair | InvalidInputError | None] = [None] * len(pairs)
        bounded: dict[int, Pair] = {}
        num_dropped: dict[int, int] = {}
        queries: dict[str, tuple[str, int]] = {}  # a query is often the same for all documents
        for index, (query, document) in enumerate(pairs):
            try:
                if query not in queries:
                    queries[query] = self._truncated(query, self.limits.query)
                first, second = queries[query], self._truncated(document, self.limits.document)
                bounded[index] = self._bounded(first[0], second[0])
                num_dropped[index] = first[1] + second[1]
            except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
                results[index] = _error_of(error)
        for index, encoded in zip(bounded, self._encode([*bounded.values()]), strict=True):
            if isinstance(encoded, InvalidInputError):
                results[index] = encoded
            else:
                results[index] = encoded.with_dropped(num_dropped[index])
        return [result for result in results if result is not None]

    def _truncated(self, text: str, limit: int) -> tuple[str, int]:
        """Return a text truncated to a number of tokens, and the number of removed tokens."""
        return head(self.tokenizer, text, limit) if limit else (text, 0)

    def _bounded(self, query: str, document: str) -> Pair:
        """Return excerpts of a pair, so that the cost of tokenization does not depend on truncated parts.

        Raises:
            InvalidInputError: If the parts that are not truncated are too long.
        """
        kept, side = self.limits.kept, self.limits.side
        untruncated = query + document
        if kept is not None:
            document = excerpt(self.tokenizer, document, kept, side)
            if self.truncates_queries:
                return excerpt(self.tokenizer, query, kept, side), document
            untruncated = query
        max_chars = max_characters(self.limits.maximum)
        if len(untruncated) > max_chars:
            message = (
                f"This model's maximum context length is {self.limits.maximum} tokens. However, your prompt contains "
                f"{len(untruncated)} characters, those of the query and of the document (more than {max_chars} "
                f"characters, which is the upper bound for {self.limits.maximum} input tokens). {LENGTH_HINT}"
            )
            raise InvalidInputError(message, parameter="data_2")
        return query, document

    def _encode(self, pairs: Sequence[Pair]) -> list[EncodedPair | InvalidInputError]:
        """Return the sequences; if the tokenizer fails, encode each pair separately."""
        if not pairs:
            return []
        try:
            return self.encode(pairs)
        except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
            if len(pairs) > 1:
                return [encoded for pair in pairs for encoded in self._encode([pair])]
            return [_error_of(error)]


def _error_of(error: Exception) -> InvalidInputError:
    """Return an InvalidInputError unchanged, and other exceptions as a failure of the tokenizer."""
    if isinstance(error, InvalidInputError):
        return error
    return InvalidInputError(f"the tokenizer fails on the pair: {type(error).__name__}: {error}", parameter="data_1")
