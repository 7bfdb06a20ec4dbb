"""From pairs of texts to token ids: what the ways to do it have in common, and the limits that they keep."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from millpond.context import TaskContext
from millpond.loading.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond_io.scoring.options import PairOptions
from millpond_io.text.excerpts import excerpt, head
from millpond_io.text.lengths import Lengths, max_characters

Pair: TypeAlias = tuple[str, str]
Ids: TypeAlias = list[int]
WAY_OUT = "Please reduce the length of the input prompt, or cut it with truncate_prompt_tokens=-1."


@dataclass(frozen=True)
class Encoded:
    """The ids of a pair, the segment of each where the model tells segments apart, and how many ids were cut off."""

    input_ids: Ids
    token_type_ids: Ids | None = None
    num_dropped_tokens: int = 0

    def without(self, tokens: int) -> "Encoded":
        """The same, of texts of which so many tokens were cut off before."""
        return replace(self, num_dropped_tokens=self.num_dropped_tokens + tokens) if tokens else self


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The maximum length of a pair, and of its texts.

    Attributes:
        maximum: The most tokens that the model takes.
        kept: Cut to so many tokens; None to refuse what is longer than the maximum.
        side: Where it is cut.
        query: Cut queries to so many tokens first; 0 for no limit.
        document: Cut documents to so many tokens first; 0 for no limit.
    """

    maximum: int
    kept: int | None = None
    side: str = "right"
    query: int = 0
    document: int = 0

    @classmethod
    def of(cls, params: PoolingParams, options: PairOptions, ctx: TaskContext) -> "Limits":
        """The limits that a call says, and the model's own.

        Raises:
            InvalidInputError: If more tokens are to be kept than the model takes, or none.
        """
        return cls(
            maximum=ctx.model.max_model_len,
            kept=Lengths(ctx).kept(params, is_text=False),
            side=params.truncation_side or "right",
            query=options.max_tokens_per_query,
            document=options.max_tokens_per_doc,
        )

    def check(self, num_tokens: int) -> None:
        """Refuse a pair of more tokens than the model takes.

        Raises:
            InvalidInputError: If it has more.
        """
        if num_tokens > self.maximum:
            message = (
                f"This model's maximum context length is {self.maximum} tokens. However, your prompt contains "
                f"{num_tokens} input tokens, those of the query and of the document. {WAY_OUT}"
            )
            raise InvalidInputError(message, parameter="data_2")


class PairEncoder(ABC):
    """Makes one sequence of each pair.

    Attributes:
        cuts_queries: Whether queries are cut too where a pair is too long.
    """

    cuts_queries = False

    def __init__(self, tokenizer: Tokenizer, limits: Limits) -> None:
        self.tokenizer = tokenizer
        self.limits = limits

    @abstractmethod
    def encode(self, pairs: Sequence[Pair]) -> list[Encoded | InvalidInputError]:
        """The sequence of each pair, not longer than the limits say; one at fault costs no other."""

    def encode_many(self, pairs: Sequence[Pair]) -> list[Encoded | InvalidInputError]:
        """The sequence of each pair of texts of any length."""
        found: list[Encoded | InvalidInputError | None] = [None] * len(pairs)
        ready: dict[int, Pair] = {}
        dropped: dict[int, int] = {}
        cut: dict[str, tuple[str, int]] = {}  # a query is often the same for all documents
        for place, (query, document) in enumerate(pairs):
            try:
                if query not in cut:
                    cut[query] = self._first(query, self.limits.query)
                first, second = cut[query], self._first(document, self.limits.document)
                ready[place] = self._bounded(first[0], second[0])
                dropped[place] = first[1] + second[1]
            except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
                found[place] = _refused(error)
        for place, encoded in zip(ready, self._encoded([*ready.values()]), strict=True):
            found[place] = encoded if isinstance(encoded, InvalidInputError) else encoded.without(dropped[place])
        return [item for item in found if item is not None]

    def _first(self, text: str, most: int) -> tuple[str, int]:
        """A text cut to so many tokens, and how many were cut off."""
        return head(self.tokenizer, text, most) if most else (text, 0)

    def _bounded(self, query: str, document: str) -> Pair:
        """A pair that costs no more to tokenise than what is kept of it.

        Raises:
            InvalidInputError: If what is to be kept whole cannot fit.
        """
        kept, side = self.limits.kept, self.limits.side
        whole = query + document
        if kept is not None:
            document = excerpt(self.tokenizer, document, kept, side)
            if self.cuts_queries:
                return excerpt(self.tokenizer, query, kept, side), document
            whole = query
        most = max_characters(self.limits.maximum)
        if len(whole) > most:
            message = (
                f"This model's maximum context length is {self.limits.maximum} tokens. However, your prompt contains "
                f"{len(whole)} characters, those of the query and of the document (more than {most} characters, which "
                f"is the upper bound for {self.limits.maximum} input tokens). {WAY_OUT}"
            )
            raise InvalidInputError(message, parameter="data_2")
        return query, document

    def _encoded(self, pairs: Sequence[Pair]) -> list[Encoded | InvalidInputError]:
        """The sequences; where the tokenizer itself fails, that of each pair by itself."""
        if not pairs:
            return []
        try:
            return self.encode(pairs)
        except Exception as error:  # noqa: BLE001  the tokenizers library raises Exception itself
            if len(pairs) > 1:
                return [encoded for pair in pairs for encoded in self._encoded([pair])]
            return [_refused(error)]


def _refused(error: Exception) -> InvalidInputError:
    """The error of a pair: what was refused as it is, what the tokenizer raised as its failure."""
    if isinstance(error, InvalidInputError):
        return error
    return InvalidInputError(f"the tokenizer fails on the pair: {type(error).__name__}: {error}", parameter="data_1")
