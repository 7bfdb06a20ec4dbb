"""Attention biases: values added to the products of queries and keys, computed block by block for kernels."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from millpond.nn.batch import EqualLengthGroup


class AttentionBias(Protocol):
    """Computes the values that attention adds to the scaled products before the softmax."""

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """Return the bias of a block of queries and keys, [count or 1, heads, queries, keys].

        Args:
            group: The sequences.
            queries: The positions of the queries in their sequences.
            keys: The positions of the keys in their sequences.
        """
        ...


@dataclass(frozen=True)
class DistanceBias:
    """A bias that depends only on the head and on the distance between the two tokens.

    Attributes:
        values: [heads, 2 * n - 1], with n at least the length of the longest sequence. The middle column is the
            distance 0; the columns after it are for keys after the query.
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
        # Each query reads its keys from one column earlier than the previous query.
        return needed.unfold(1, len(keys), 1).flip(1).unsqueeze(0)
