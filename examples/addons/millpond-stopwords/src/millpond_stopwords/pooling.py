"""The pooling type CONTENT."""

from typing import Any

import torch

from millpond.nn import Pooler, PoolingMetadata
from millpond_stopwords.kinds import StopwordListSpec

LANGUAGE = "english"


class ContentPooling(Pooler):
    """CONTENT: the mean of the tokens that are not stop words. A text of stop words alone keeps all its tokens.

    The key ``stopwords`` of config.json names the language. Words of several tokens are not stop words.
    """

    def __init__(self, ctx: Any) -> None:
        super().__init__(ctx)
        words = ctx.registry[StopwordListSpec].get(ctx.config.get("stopwords", LANGUAGE)).load()
        encoded = [] if ctx.tokenizer is None else ctx.tokenizer.encode_batch(sorted(words), add_special_tokens=False)
        ids = [it.ids[0] for it in encoded if len(it.ids) == 1]
        self.stopword_ids = torch.tensor(ids, dtype=torch.int64, device=ctx.device)

    def pool(self, hidden_states: torch.Tensor, metadata: PoolingMetadata) -> torch.Tensor:
        """Pool [num_tokens, hidden] to [num_seqs, hidden]."""
        lengths = list(metadata.lengths)
        is_content = ~torch.isin(metadata.input_ids, self.stopword_ids)
        pooled = []
        for rows, kept in zip(hidden_states.float().split(lengths), is_content.split(lengths), strict=True):
            pooled.append((rows[kept] if kept.any() else rows).mean(dim=0))
        return torch.stack(pooled)
