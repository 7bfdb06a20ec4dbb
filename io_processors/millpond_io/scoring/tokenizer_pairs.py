"""TokenizerPairs: pairs joined by the tokenizer, with its special tokens and segments, truncated "longest_first"."""

from collections.abc import Sequence

import tokenizers

from millpond.model.tokenizer import Tokenizer
from millpond.types.errors import InvalidInputError
from millpond_io.scoring.pair_encoder import EncodedPair, Limits, Pair, PairEncoder


class TokenizerPairs(PairEncoder):
    """Encodes pairs with the pair format of the tokenizer, which cross-encoders are trained with.

    Attributes:
        segments: The number of segments that the model distinguishes; less than 2 for none.
    """

    truncates_queries = True

    def __init__(self, tokenizer: Tokenizer, limits: Limits, *, segments: int = 0, prompt: str = "") -> None:
        super().__init__(tokenizer, limits)
        self.segments = segments
        self.prompt = prompt

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair | InvalidInputError]:
        """Encode all pairs at once."""
        texts = [(self.prompt + query, document) for query, document in pairs]
        results: list[EncodedPair | InvalidInputError] = []
        for encoding in self.tokenizer.encode_pairs(texts):
            try:
                results.append(self._fit(encoding))
            except InvalidInputError as error:
                results.append(error)
        return results

    def _fit(self, encoding: tokenizers.Encoding) -> EncodedPair:
        first, second = (encoding.sequence_ids.count(owner) for owner in (0, 1))
        special = len(encoding) - first - second
        max_second = min(second, self.limits.document or second)
        kept = first, max_second
        if self.limits.kept is not None:
            room = self.limits.kept - special
            if room < 1:
                message = (
                    f"truncate_prompt_tokens={self.limits.kept} leaves an empty prompt: a pair has {special} special "
                    f"tokens, so it must be -1 or at least {special + 1}"
                )
                raise InvalidInputError(message, parameter="truncate_prompt_tokens")
            only_second = self.limits.document > 0 and first < room
            kept = (first, min(max_second, room - first)) if only_second else longest_first(first, max_second, room)
        self.limits.check(special + sum(kept))
        return truncate_pair(encoding, kept, side=self.limits.side, segments=self.segments)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return the numbers of tokens to keep of two texts: the longer text is truncated first, then both equally.

    This is the strategy "longest_first" of the tokenizers library.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room - room // 2
    return (shorter, longer) if first <= second else (longer, shorter)


def truncate_pair(
    encoding: tokenizers.Encoding, kept: tuple[int, int], *, side: str = "right", segments: int = 0
) -> EncodedPair:
    """Truncate both texts of a pair; special tokens are kept.

    Args:
        encoding: The whole pair.
        kept: The number of tokens to keep of each text.
        side: The side of truncation, "left" or "right".
        segments: The number of segments that the model distinguishes; less than 2 for none.
    """
    ids, types, owners = encoding.ids, encoding.type_ids, encoding.sequence_ids
    indices: Sequence[int] = range(len(ids))
    totals = (owners.count(0), owners.count(1))
    if kept[0] < totals[0] or kept[1] < totals[1]:
        indices = _kept_indices(owners, [_span(total, limit, side) for total, limit in zip(totals, kept, strict=True)])
    return EncodedPair(
        input_ids=[ids[index] for index in indices],
        token_type_ids=[min(types[index], segments - 1) for index in indices] if segments > 1 else None,
        num_dropped_tokens=len(ids) - len(indices),
    )


def _span(total: int, kept: int, side: str) -> tuple[int, int]:
    """Return the range of tokens to keep of a text."""
    kept = min(max(kept, 0), total)
    return (total - kept, total) if side == "left" else (0, kept)


def _kept_indices(owners: Sequence[int | None], spans: Sequence[tuple[int, int]]) -> list[int]:
    counts = [0, 0]
    indices: list[int] = []
    for index, owner in enumerate(owners):
        if owner is None:  # a special token
            indices.append(index)
            continue
        if spans[owner][0] <= counts[owner] < spans[owner][1]:
            indices.append(index)
        counts[owner] += 1
    return indices
