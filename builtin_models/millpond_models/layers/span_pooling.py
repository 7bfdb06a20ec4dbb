"""SpanPooling: base class of poolers that pool only a part of each sequence."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from millpond.nn import PoolingMetadata
from millpond.types.params import PoolingParams


class SpanPooling(nn.Module, ABC):
    """Passes a span of each sequence to a pooler. Spans that a caller has selected stay unchanged.

    Args:
        pooler: The pooler.
    """

    def __init__(self, pooler: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler

    def check(self, params: PoolingParams) -> None:
        """Check the parameters with the wrapped pooler."""
        self.pooler.check(params)  # type: ignore[operator]  # poolers have the method

    @abstractmethod
    def span(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the start and the end of the pooled tokens of a sequence with the given token IDs; never empty."""

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden_size] -> [num_seqs, dim], or a list of num_seqs tensors."""
        if metadata.starts:
            return self.pooler(hidden_states, metadata)  # type: ignore[no-any-return]  # nn.Module.__call__ returns Any
        ids = metadata.read_ids().tolist()
        spans = [
            self.span(ids[offset : offset + length])
            for offset, length in zip(metadata.offsets, metadata.lengths, strict=False)
        ]
        rows, selected = metadata.select(range(len(spans)), metadata.params, spans)
        pooled: Tensor | list[Tensor] = self.pooler(hidden_states if rows is None else hidden_states[rows], selected)
        return pooled
