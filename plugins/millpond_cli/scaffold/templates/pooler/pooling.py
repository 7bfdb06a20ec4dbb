"""ADDON_NAME pooling: the middle between the minimum and the maximum of each dimension."""

import torch
from millpond.nn import Pooler, PoolingMetadata


class AddonNamePooling(Pooler):
    """ADDON_NAME: the middle between the minimum and the maximum of each dimension over all tokens."""

    def pool(self, hidden_states: torch.Tensor, metadata: PoolingMetadata) -> torch.Tensor:
        """Pool [num_tokens, hidden_size] to [num_seqs, hidden_size].

        The sequences follow each other without padding; metadata.lengths contains their lengths.
        """
        sequences = hidden_states.split(list(metadata.lengths))
        return torch.stack([(rows.amin(dim=0) + rows.amax(dim=0)) / 2 for rows in sequences])
