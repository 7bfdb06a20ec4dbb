"""Padding at the end of a text is not pooled: decoders of transformers classify by the last token that is none.

They tell padding by its id, so that a text which ends with that token, as where padding is the end of texts too, is
classified by the one before.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from millpond.nn import PoolingMetadata
from millpond.types.params import PoolingParams


class BeforePadding(nn.Module):
    """Hands a pooler what stands before the padding at the end of each prompt; a part that was chosen stays as it is.

    Args:
        pooler: The pooler.
        padding: The id of padding.
    """

    def __init__(self, pooler: nn.Module, padding: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.padding = padding

    def check(self, params: PoolingParams) -> None:
        """As the pooler does."""
        self.pooler.check(params)  # type: ignore[operator]  # poolers have it

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, dim], or a list of num_seqs tensors."""
        ends = metadata.input_ids[metadata.last] == self.padding
        if metadata.starts or not ends.any():
            return self.pooler(hidden_states, metadata)  # type: ignore[no-any-return]  # modules are called so
        ids = metadata.input_ids.tolist()
        spans = [
            (0, self.stop(ids[offset : offset + length]))
            for offset, length in zip(metadata.offsets, metadata.lengths, strict=False)
        ]
        rows, chosen = metadata.select(range(len(spans)), metadata.params, spans)
        pooled: Tensor | list[Tensor] = self.pooler(hidden_states if rows is None else hidden_states[rows], chosen)
        return pooled

    def stop(self, ids: Sequence[int]) -> int:
        """How many tokens stand before the padding at the end; of nothing else, the first one."""
        return next((place for place in range(len(ids), 0, -1) if ids[place - 1] != self.padding), 1)
