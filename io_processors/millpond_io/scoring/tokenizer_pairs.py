"""Pairs of texts as the tokenizer joins them: its special tokens between and around, segments, cut "longest_first"."""

from collections.abc import Sequence

import tokenizers

from millpond.loading.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond_io.scoring.pair_encoder import Encoded, Limits, Pair, PairEncoder


class TokenizerPairs(PairEncoder):
    """Has the tokenizer make one sequence of two texts, as models are trained that have a head for pairs.

    Attributes:
        segments: How many segments the model tells apart; fewer than 2 for none.
    """

    cuts_queries = True

    def __init__(self, tokenizer: Tokenizer, limits: Limits, *, segments: int = 0, before: str = "") -> None:
        super().__init__(tokenizer, limits)
        self.segments = segments
        self.before = before

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded | InvalidInputError]:
        """All pairs at once."""
        written = [(self.before + query, document) for query, document in pairs]
        found: list[Encoded | InvalidInputError] = []
        for encoding in self.tokenizer.encode_pairs(written):
            try:
                found.append(self._fit(encoding))
            except InvalidInputError as error:
                found.append(error)
        return found

    def _fit(self, encoding: tokenizers.Encoding) -> Encoded:
        first, second = (encoding.sequence_ids.count(owner) for owner in (0, 1))
        special = len(encoding) - first - second
        most = min(second, self.limits.document or second)
        kept = first, most
        if self.limits.kept is not None:
            room = self.limits.kept - special
            if room < 1:
                message = (
                    f"truncate_prompt_tokens={self.limits.kept} leaves an empty prompt: a pair has {special} special "
                    f"tokens, it must be -1 or from {special + 1} on"
                )
                raise InvalidInputError(message, parameter="truncate_prompt_tokens")
            only_second = self.limits.document > 0 and first < room
            kept = (first, min(most, room - first)) if only_second else shares(first, most, room)
        self.limits.check(special + sum(kept))
        return cut_pair(encoding, kept, side=self.limits.side, segments=self.segments)


def shares(first: int, second: int, room: int) -> tuple[int, int]:
    """Return the number of tokens that are kept of two texts: the longer is cut first, then both alike.

    The rule "longest_first" of the tokenizers library.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (shorter, longer) if first <= second else (longer, shorter)


def cut_pair(
    encoding: tokenizers.Encoding, kept: tuple[int, int], *, side: str = "right", segments: int = 0
) -> Encoded:
    """A pair with so many tokens of its first and its second text; the special tokens stay.

    Args:
        encoding: The whole pair.
        kept: How many tokens are kept of each text.
        side: Where they are cut off.
        segments: How many segments the model tells apart; fewer than 2 for none.
    """
    ids, types, owners = encoding.ids, encoding.type_ids, encoding.sequence_ids
    chosen: Sequence[int] = range(len(ids))
    totals = (owners.count(0), owners.count(1))
    if kept[0] < totals[0] or kept[1] < totals[1]:
        chosen = _chosen(owners, [_span(total, most, side) for total, most in zip(totals, kept, strict=True)])
    return Encoded(
        input_ids=[ids[place] for place in chosen],
        token_type_ids=[min(types[place], segments - 1) for place in chosen] if segments > 1 else None,
        num_dropped_tokens=len(ids) - len(chosen),
    )


def _span(total: int, kept: int, side: str) -> tuple[int, int]:
    """Return the range of tokens that are kept of a text."""
    kept = min(max(kept, 0), total)
    return (total - kept, total) if side == "left" else (0, kept)


def _chosen(owners: Sequence[int | None], spans: Sequence[tuple[int, int]]) -> list[int]:
    counts = [0, 0]
    chosen: list[int] = []
    for place, owner in enumerate(owners):
        if owner is None:  # a special token
            chosen.append(place)
            continue
        if spans[owner][0] <= counts[owner] < spans[owner][1]:
            chosen.append(place)
        counts[owner] += 1
    return chosen
