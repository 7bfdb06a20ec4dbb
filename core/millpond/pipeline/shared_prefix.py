"""PrefixFinder: finds the tokens with which all sequences of a call begin, so that a decoder computes them once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millpond.engine.request import PoolingRequest, SharedPrefix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_PREFIX_TOKENS = 16  # fewer do not justify copying their keys and values
MAX_PREFIX_TOKENS = 1024  # in a model of a billion parameters, keys and values take a quarter of a megabyte per token


class PrefixFinder:
    """Finds the tokens with which all sequences of one call begin, such as the instruction and query of a rerank.

    Sequences of different calls share nothing, so that response times do not reveal what other callers sent.

    Args:
        enabled: False to find nothing.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._prefix: SharedPrefix | None = None  # that of earlier windows

    def mark(self, sequences: Sequence[PoolingRequest]) -> None:
        """Set ``state.prefix`` of the sequences of a call, or of its next window, if all begin with the same tokens."""
        known = self._prefix
        is_alone = len(sequences) <= 1 if known is None else not sequences
        if not self._enabled or is_alone:
            return
        kind = kind_of(sequences[0]) if known is None else known.kind
        head = sequences[0].input_ids[:MAX_PREFIX_TOKENS] if known is None else known.ids
        length = shared_length(head, sequences)
        if length == 0 or not all(is_plain(it) and kind_of(it) == kind for it in sequences):
            return
        if known is None or length < len(head):
            self._prefix = known = SharedPrefix(head[:length].copy(), kind)
        for sequence in sequences:
            sequence.state.prefix = known


def is_plain(sequence: PoolingRequest) -> bool:
    """True if the model reads nothing but token ids."""
    return not sequence.features and sequence.token_type_ids is None


def kind_of(sequence: PoolingRequest) -> tuple[str, str, str | None]:
    """Return the properties that sequences with a shared prefix have in common."""
    return sequence.group, sequence.route, sequence.adapter


def shared_length(head: "NDArray[np.int64]", sequences: Sequence[PoolingRequest]) -> int:
    """Return the number of tokens of ``head`` with which all sequences begin, each with more; 0 for fewer than 16."""
    for sequence in sequences:
        ids = sequence.input_ids[:-1][: len(head)]
        if ids.tobytes() == head.tobytes():  # takes a third of the time of a comparison
            continue
        head = head[: len(ids)]
        different = (head != ids).nonzero()[0]
        head = head[: different[0]] if len(different) else head
        if len(head) < MIN_PREFIX_TOKENS:
            return 0
    return len(head)
