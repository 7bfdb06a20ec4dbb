"""Pairs of texts as pieces of one text, by a template or end to end; where it is too long, the document is cut."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, TypeAlias

from millpond.loading.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond_io.scoring.pair_encoder import Encoded, Ids, Limits, Pair, PairEncoder

Write: TypeAlias = Callable[[str, str], tuple[str, ...]]
Special: TypeAlias = Literal["none", "all", "once"]


class WrittenPairs(PairEncoder):
    """Writes a pair as pieces of text, tokenises each, and puts their tokens end to end.

    Attributes:
        write: From a query and a document to the pieces.
        special: Whether the tokenizer adds its special tokens: to no piece, to "all", or "once": if the first of them
            is not written there already.
    """

    def __init__(self, tokenizer: Tokenizer, limits: Limits, write: Write, *, special: Special = "none") -> None:
        super().__init__(tokenizer, limits)
        self.write = write
        self.special = special

    @cached_property
    def first(self) -> str | None:
        """The text of the special token that the tokenizer puts first; None if it puts none."""
        (alone,) = self.tokenizer.encode_batch([""])
        return self.tokenizer.decode(alone.ids[:1]) if alone.ids else None

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded | InvalidInputError]:
        """All pairs at once; those that are too long once more, one by one."""
        written: list[tuple[str, ...] | InvalidInputError] = []
        for pair in pairs:
            try:
                written.append(self.write(*pair))
            except InvalidInputError as error:
                written.append(error)
        ids = self._ids({piece for pieces in written if isinstance(pieces, tuple) for piece in pieces})
        found: list[Encoded | InvalidInputError] = []
        for pair, pieces in zip(pairs, written, strict=True):
            try:
                found.append(pieces if isinstance(pieces, InvalidInputError) else self._fit(pair, _joined(ids, pieces)))
            except InvalidInputError as error:
                found.append(error)
        return found

    def _fit(self, pair: Pair, ids: Ids) -> Encoded:
        """The ids of a pair, or of as much of its document as there is room for."""
        most = self.limits.kept
        if most is None or len(ids) <= most:
            self.limits.check(len(ids))
            return Encoded(ids)
        query, document = pair
        (encoding,) = self.tokenizer.encode_batch([document], add_special_tokens=False)
        total, room, kept = len(ids), len(encoding), ids
        while len(kept) > most:
            if room == 0:
                message = (
                    f"the query and what the model reads around it take {len(kept)} tokens, and {most} are to be kept: "
                    "there is no room for a document. Cut the query with max_tokens_per_query"
                )
                raise InvalidInputError(message, parameter="truncate_prompt_tokens")
            room = max(room - (len(kept) - most), 0)
            document, _ = self.tokenizer.cut(document, room, side=self.limits.side)
            pieces = self.write(query, document)
            kept = _joined(self._ids(set(pieces)), pieces)
        return Encoded(kept, num_dropped_tokens=total - len(kept))

    def _ids(self, texts: set[str]) -> dict[str, Ids]:
        """The ids of texts; pieces that stand in many pairs are tokenised once."""
        found: dict[str, Ids] = {}
        for special in (True, False):
            chosen = [text for text in texts if self.adds_special(text) is special]
            encodings = self.tokenizer.encode_batch(chosen, add_special_tokens=special) if chosen else []
            found |= {text: encoding.ids for text, encoding in zip(chosen, encodings, strict=True)}
        return found

    def adds_special(self, text: str) -> bool:
        """Return whether the tokenizer's special tokens are added to a piece."""
        if self.special == "once":
            return self.first is not None and not text.startswith(self.first)
        return self.special == "all"


def _joined(ids: dict[str, Ids], pieces: tuple[str, ...]) -> Ids:
    return [number for piece in pieces for number in ids[piece]]
