"""What attention adds to the products of queries and keys: numbers that a kernel asks for, block by block."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from millpond.nn.batch import EqualLengthGroup


class AttentionBias(Protocol):
    """Gives the numbers that are added to scaled products, before the softmax."""

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """Those of some queries and keys, places in their sequences: [count or 1, heads, queries, keys].

        Args:
            group: The sequences.
            queries: The places of the queries.
            keys: The places of the keys.
        """
        ...


@dataclass(frozen=True)
class DistanceBias:
    """A number for each head and distance, the same wherever the two tokens stand.

    Attributes:
        values: [heads, 2 * n - 1], n at least the tokens of the longest sequence: the number in the middle is that of a
            token and itself, what stands behind it is of the keys behind the query.
    """

    values: Tensor

    @property
    def middle(self) -> int:
        """The column of the distance 0."""
        return self.values.shape[1] // 2

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """[1, heads, queries, keys]; see ``AttentionBias``."""
        del group
        start = self.middle + keys.start - queries.stop + 1
        needed = self.values[:, start : start + len(queries) + len(keys) - 1]
        return needed.unfold(1, len(keys), 1).flip(1).unsqueeze(0)  # from one query to the one before it, one further
