"""Between: a pooler that leaves out the tokens that begin and end a text."""

import torch
from torch import Tensor, nn

from millpond.nn import PoolingMetadata


class Between(nn.Module):
    """A pooler that leaves out a certain token in the first place of a text, and one in the last."""

    def __init__(self, pooler: nn.Module, first: int | None, last: int | None, *, empty: tuple[int, ...]) -> None:
        """Wrap a pooler.

        Args:
            pooler: The pooler.
            first: The id of the token that is left out in the first place; None for none.
            last: The same of the last place.
            empty: The shape of the result of a text of which nothing is left: zeros.
        """
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check
        self.ends = first, last
        self.empty = empty

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> what the pooler gives for each sequence."""
        firsts, lasts = (metadata.input_ids[rows].tolist() for rows in (metadata.first, metadata.last))
        spans: list[tuple[int, int]] = []
        for length, first, last in zip(metadata.lengths, firsts, lasts, strict=True):
            skipped = int(first == self.ends[0])
            spans.append((skipped, length - int(length > skipped and last == self.ends[1])))
        kept = [place for place, (begin, end) in enumerate(spans) if end > begin]
        found = [hidden_states.new_zeros(self._shape(own.dimensions), dtype=torch.float32) for own in metadata.params]
        if kept:
            rows, chosen = metadata.select(kept, [metadata.params[p] for p in kept], [spans[p] for p in kept])
            pooled = self.pooler(hidden_states if rows is None else hidden_states[rows], chosen)
            for place, own in zip(kept, pooled, strict=True):
                found[place] = own
        return found

    def _shape(self, dimensions: int | None) -> tuple[int, ...]:
        return self.empty if dimensions is None else (*self.empty[:-1], dimensions)
