"""Pooling without trailing padding: decoders of transformers classify by the last token that is not padding.

Padding is identified by its token ID. If padding and end of text share an ID, a text that ends with this token is
classified by the preceding token.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from millpond.nn import PoolingMetadata
from millpond_models.layers.span_pooling import SpanPooling


class SkipTrailingPadding(SpanPooling):
    """Passes the tokens before trailing padding to a pooler.

    Args:
        pooler: The pooler.
        pad_id: ID of the padding token.
    """

    def __init__(self, pooler: nn.Module, pad_id: int) -> None:
        super().__init__(pooler)
        self.pad_id = pad_id

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden_size] -> [num_seqs, dim], or a list of num_seqs tensors."""
        last_ids = metadata.read_ids()[np.array(metadata.offsets[1:]) - 1]
        if not (last_ids == self.pad_id).any():
            return self.pooler(hidden_states, metadata)  # type: ignore[no-any-return]  # nn.Module.__call__ returns Any
        return super().forward(hidden_states, metadata)

    def span(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the span up to the last token that is not padding; the first token if there are no others."""
        return 0, next((stop for stop in range(len(ids), 0, -1) if ids[stop - 1] != self.pad_id), 1)
