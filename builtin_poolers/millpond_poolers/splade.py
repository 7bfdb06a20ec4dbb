"""SPLADE: one weight for each token of the vocabulary, from the logits of a masked language model."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from millpond.context import PoolerContext
from millpond.nn import Pooler, PoolingMetadata
from millpond.nn.sparse import as_asked, keep_largest
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable


class SpladePooling(Pooler):
    """SPLADE_MAX: over all tokens, the largest ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2109.10086).

    The model's head makes the logits within the op ``splade``, which never holds those of a whole batch. The weights
    are divided by their length where the checkpoint says so. Where the parameters of a sequence say
    ``"as_terms": True`` in ``extra_kwargs``, its result is not the weight of each token, [vocabulary], but the ids and
    weights of those that have one, [num_terms, 2]. So many as they say there by ``max_active_dims``, or else as the
    checkpoint says, are kept: the largest.
    """

    how: ClassVar[str] = "max"
    log_again: ClassVar[bool] = False

    def __init__(self, ctx: PoolerContext) -> None:
        super().__init__(replace(ctx, activation_name="normalize") if ctx.model.embedding.normalizes else ctx)
        if ctx.head is None:
            message = (
                f"the pooling type {ctx.pooling_type(ctx.task_spec.name)!r} reads the logits of a masked language "
                f"model, and the architecture {ctx.model.architecture!r} gives none; *ForMaskedLM do, of families that "
                "Millpond serves natively"
            )
            raise InvalidInputError(message, parameter="pooler_config")
        self.op: Callable[..., Tensor] = ctx.op("splade")
        self.most = ctx.model.embedding.max_active_dims

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, vocabulary], float32."""
        finished = self._finish_each(self.pool(hidden_states, metadata), metadata.params)
        keep_largest(finished, metadata.params, self.most)
        return as_asked(finished, metadata.params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, vocabulary]."""
        return self.op(hidden_states, metadata.lengths, self.head, self.how, log_again=self.log_again)


class SpladeSumPooling(SpladePooling):
    """SPLADE_SUM: over all tokens, the sum of ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2107.05720)."""

    how = "sum"


class SpladeMaxLogPooling(SpladePooling):
    """SPLADE_MAX_LOG: the largest ``log(1 + log(1 + relu(logit)))`` (Geng et al., 2025, arXiv 2504.14839)."""

    log_again = True


class SpladeSumLogPooling(SpladeSumPooling):
    """SPLADE_SUM_LOG: the sum of ``log(1 + log(1 + relu(logit)))``."""

    log_again = True
