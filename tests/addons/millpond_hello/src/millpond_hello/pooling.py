"""MIN pooling: the minimum of each dimension."""

import torch
from torch import Tensor

from millpond.nn import Pooler, PoolingMetadata


class MinPooling(Pooler):
    """MIN: the minimum of each dimension over all tokens."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(list(metadata.lengths))])
