"""PaddedGroup: adjacent sequences of a packed batch of similar lengths, padded to the longest of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from millpond.nn import PackedBatch, to_device

MAX_PADDED_SCORES = 1 << 23  # of one head: sequences of a group, times the square of their longest length
MAX_STRETCH = 2  # a sequence is padded to at most this many times its length, except very short ones
SHORT_TOKENS = 32  # sequences up to this length share a group
_groups: "WeakKeyDictionary[PackedBatch, tuple[PaddedGroup, ...]]" = WeakKeyDictionary()  # for all layers of a model


@dataclass(frozen=True, slots=True)
class PaddedGroup:
    """Adjacent sequences of a batch, padded to the longest of them.

    Attributes:
        start: The row of the first token of the first sequence.
        stop: The row after the last token of the last sequence.
        count: The number of sequences.
        length: The number of tokens of the longest sequence.
        places: The position of each row in the padded tensor [count * length], [stop - start], int64, on the device.
        num_attended: The number of tokens of each sequence that are not masked, [count], int64, on the device.
    """

    start: int
    stop: int
    count: int
    length: int
    places: Tensor
    num_attended: Tensor

    def pad(self, x: Tensor) -> Tensor:
        """Return the rows of the group with zeros for padding: [num_tokens, ...] -> [count, length, ...]."""
        padded = x.new_zeros(self.count * self.length, *x.shape[1:])
        padded.index_copy_(0, self.places, x[self.start : self.stop])
        return padded.view(self.count, self.length, *x.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """Return the rows of the group without padding: [count, length, ...] -> [stop - start, ...]."""
        return padded.flatten(0, 1)[self.places]


def padded_groups(batch: PackedBatch) -> tuple[PaddedGroup, ...]:
    """Return the sequences of a batch in groups of similar lengths, which are large if the batch is sorted."""
    groups = _groups.get(batch)
    if groups is None:
        groups = _groups[batch] = _grouped(batch.lengths, batch.num_masked, batch.input_ids.device)
    return groups


def _grouped(lengths: Sequence[int], num_masked: Sequence[int], device: torch.device) -> tuple[PaddedGroup, ...]:
    bounds = list(_bounds(lengths))
    places = to_device(torch.cat([_places(lengths[first:last]) for first, last in bounds]), device)
    attended = torch.tensor(lengths) - torch.tensor(num_masked or [0] * len(lengths))
    num_attended = to_device(attended, device)
    groups: list[PaddedGroup] = []
    start = 0
    for first, last in bounds:
        stop = start + sum(lengths[first:last])
        longest = max(lengths[first:last])
        part = places[start:stop], num_attended[first:last]
        groups.append(PaddedGroup(start, stop, last - first, longest, *part))
        start = stop
    return tuple(groups)


def _bounds(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first sequence of each group, and the one after its last."""
    first, shortest, longest = 0, lengths[0], lengths[0]
    for index, length in enumerate(lengths):
        low, high = min(shortest, length), max(longest, length)
        too_large = (index + 1 - first) * high**2 > MAX_PADDED_SCORES
        if index > first and (too_large or high > max(MAX_STRETCH * low, SHORT_TOKENS)):
            yield first, index
            first, low, high = index, length, length
        shortest, longest = low, high
    yield first, len(lengths)


def _places(lengths: Sequence[int]) -> Tensor:
    """Return the position of each token of a group in its padded tensor."""
    counts = torch.tensor(lengths)
    gaps = max(lengths) - counts  # the padding after each sequence
    before = gaps.cumsum(0) - gaps
    return torch.arange(int(counts.sum())) + torch.repeat_interleave(before, counts)
