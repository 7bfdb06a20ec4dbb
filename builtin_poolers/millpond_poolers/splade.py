"""SPLADE: one weight for each token of the vocabulary, from the logits of a masked language model."""

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from millpond.context import Context
from millpond.errors import InvalidInputError
from millpond.nn import Pooler, PoolingMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

AS_TERMS, MOST = "as_terms", "max_active_dims"


class SpladePooling(Pooler):
    """SPLADE_MAX: over all tokens, the largest ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2109.10086).

    The model's head makes the logits within the op ``splade``, which never holds those of a whole batch. Where the
    parameters of a sequence say ``"as_terms": True`` in ``extra_kwargs``, its result is not the weight of each token,
    [vocabulary], but the ids and weights of those that have one, [num_terms, 2]. So many as they say there by
    ``max_active_dims``, or else as the checkpoint says, are kept: the largest.
    """

    how: ClassVar[str] = "max"
    log_again: ClassVar[bool] = False

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        if ctx.head is None:
            message = (
                f"the pooling type {ctx.pooling_type(ctx.task_spec.name)!r} reads the logits of a masked language "
                f"model, and the architecture {ctx.model.architecture!r} gives none; *ForMaskedLM do, of families that "
                "Millpond serves natively"
            )
            raise InvalidInputError(message, parameter="pooler_config")
        self.op: Callable[..., Tensor] = ctx.op("splade")
        self.most = ctx.model.max_active_dims

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, vocabulary], float32."""
        given = [own.extra_kwargs or {} for own in metadata.params]
        pooled = self.pool(hidden_states, metadata)
        for row, own in zip(pooled, given, strict=True):
            most = own.get(MOST) or self.most
            if isinstance(most, int) and most < len(row):
                heaviest = row.topk(most)
                row.zero_()[heaviest.indices] = heaviest.values
        finished = self._finish_each(pooled, metadata.params)
        asked = [bool(own.get(AS_TERMS)) for own in given]
        if not any(asked):
            return finished
        return [terms_of(row) if terms else row for row, terms in zip(finished, asked, strict=True)]

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, vocabulary]."""
        return self.op(hidden_states, metadata.lengths, self.head, self.how, log_again=self.log_again)


def terms_of(weights: Tensor) -> Tensor:
    """The ids of tokens that have a weight, and these: [vocabulary] -> [num_terms, 2]; exact for ids up to 2 ** 24."""
    indices = weights.nonzero().squeeze(1)
    return torch.stack([indices.to(weights.dtype), weights[indices]], dim=1)


class SpladeSumPooling(SpladePooling):
    """SPLADE_SUM: over all tokens, the sum of ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2107.05720)."""

    how = "sum"


class SpladeMaxLogPooling(SpladePooling):
    """SPLADE_MAX_LOG: the largest ``log(1 + log(1 + relu(logit)))`` (Geng et al., 2025, arXiv 2504.14839)."""

    log_again = True


class SpladeSumLogPooling(SpladeSumPooling):
    """SPLADE_SUM_LOG: the sum of ``log(1 + log(1 + relu(logit)))``."""

    log_again = True
