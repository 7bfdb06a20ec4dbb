"""SkipSpecialTokens: a pooler that skips the special tokens at the start and the end of a text."""

import torch
from torch import Tensor, nn

from millpond.nn import PoolingMetadata


class SkipSpecialTokens(nn.Module):
    """A pooler that skips one given token at the start of a text, and one at the end.

    Chunks of late chunking contain all tokens, so none is skipped for it.
    """

    def __init__(self, pooler: nn.Module, first: int | None, last: int | None, *, empty: tuple[int, ...]) -> None:
        """Wrap a pooler.

        Args:
            pooler: The pooler of the remaining tokens.
            first: The id of the token that is skipped at the start; None for none.
            last: The id of the token that is skipped at the end; None for none.
            empty: The shape of the result for a text without other tokens, which is all zeros.
        """
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check
        self.ends = first, last
        self.empty = empty

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """Return the pooler's result for each sequence, from hidden states [num_tokens, hidden_size]."""
        ids, offsets = metadata.read_ids(), metadata.offsets
        spans: list[tuple[int, int]] = []
        for params, length, begin, end in zip(metadata.params, metadata.lengths, offsets, offsets[1:], strict=False):
            if params.late_chunking_params is not None:
                spans.append((0, length))
                continue
            start = int(ids[begin] == self.ends[0])
            spans.append((start, length - int(length > start and ids[end - 1] == self.ends[1])))
        kept = [index for index, (start, stop) in enumerate(spans) if stop > start]
        results = [
            hidden_states.new_zeros(self._empty_shape(params.dimensions), dtype=torch.float32)
            for params in metadata.params
        ]
        if kept:
            rows, selected = metadata.select(kept, [metadata.params[i] for i in kept], [spans[i] for i in kept])
            pooled = self.pooler(hidden_states if rows is None else hidden_states[rows], selected)
            for index, result in zip(kept, pooled, strict=True):
                results[index] = result
        return results

    def _empty_shape(self, dimensions: int | None) -> tuple[int, ...]:
        return self.empty if dimensions is None else (*self.empty[:-1], dimensions)
