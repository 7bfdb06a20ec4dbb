"""DistanceBias: an attention bias that depends only on the distance between two tokens."""

from dataclasses import dataclass

from torch import Tensor

from millpond.nn import EqualLengthGroup


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
