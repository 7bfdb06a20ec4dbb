"""SPLADE: one weight for each token of the vocabulary, from the logits of a masked language model."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from millpond.context import PoolerContext
from millpond.nn import Pooler, PoolingMetadata
from millpond.types.errors import InvalidInputError
from millpond_modeling.sparse import as_requested, keep_largest

if TYPE_CHECKING:
    from collections.abc import Callable


class SpladePooling(Pooler):
    """SPLADE_MAX: the maximum of ``log(1 + relu(logit))`` over all tokens (Formal et al., 2021, arXiv 2109.10086).

    The op ``splade`` computes the logits with the model's head, block by block, so that the logits of a whole batch are
    never in memory. The weights are divided by their Euclidean length if the checkpoint specifies normalization. The
    ``SparseOptions`` of a sequence select the format of its result and the number of weights that are kept.
    """

    reduction: ClassVar[str] = "max"
    log_again: ClassVar[bool] = False

    def __init__(self, ctx: PoolerContext) -> None:
        super().__init__(replace(ctx, activation_name="normalize") if ctx.model.embedding.normalizes else ctx)
        if ctx.head is None:
            message = (
                f"the pooling type {ctx.pooling_type(ctx.task_spec.name)!r} needs the logits of a masked language "
                f"model, which the architecture {ctx.model.architecture!r} does not compute. Use a *ForMaskedLM "
                "architecture of a family that Millpond supports natively"
            )
            raise InvalidInputError(message, parameter="pooler_config")
        self.op: Callable[..., Tensor] = ctx.op("splade")
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, vocabulary], float32."""
        finished = self._finish_each(self.pool(hidden_states, metadata), metadata.params)
        keep_largest(finished, metadata.params, self.max_active_dims)
        return as_requested(finished, metadata.params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, vocabulary]."""
        return self.op(hidden_states, metadata.lengths, self.head, self.reduction, log_again=self.log_again)


class SpladeSumPooling(SpladePooling):
    """SPLADE_SUM: the sum of ``log(1 + relu(logit))`` over all tokens (Formal et al., 2021, arXiv 2107.05720)."""

    reduction = "sum"


class SpladeMaxLogPooling(SpladePooling):
    """SPLADE_MAX_LOG: the maximum of ``log(1 + log(1 + relu(logit)))`` (Geng et al., 2025, arXiv 2504.14839)."""

    log_again = True


class SpladeSumLogPooling(SpladeSumPooling):
    """SPLADE_SUM_LOG: the sum of ``log(1 + log(1 + relu(logit)))``."""

    log_again = True
