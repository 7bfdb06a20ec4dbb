"""SPLADE: one weight for each token of the vocabulary, from the logits of a masked language model."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from millpond.context import Context
from millpond.errors import InvalidInputError
from millpond.nn import Pooler, PoolingMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_AT_ONCE = 128  # whose logits are there at a time: 16 MB for 30,000 tokens


class SpladePooling(Pooler):
    """SPLADE_MAX: over all tokens, the largest ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2109.10086).

    The model's head makes the logits, [rows, vocabulary], of few rows at a time: those of a whole batch are never there
    together.
    """

    log_again: ClassVar[bool] = False

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        if ctx.head is None:
            message = (
                f"the pooling type {ctx.pooling_type(ctx.task_spec.name)!r} reads the logits of a masked language "
                f"model, and the architecture {ctx.model.architecture!r} gives none; *ForMaskedLM do"
            )
            raise InvalidInputError(message, parameter="pooler_config")
        self.reduce: Callable[..., Tensor] = ctx.op("segment_pool")

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, vocabulary], float32."""
        return self._finish_each(self.pool(hidden_states, metadata), metadata.params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, vocabulary]."""
        parts = _parts(metadata.lengths)
        found: Tensor | None = None
        for rows, first, lengths in _blocks(parts):
            logits = self._project(hidden_states[rows : rows + sum(lengths)])
            if found is None:
                found = logits.new_zeros(len(metadata.lengths), logits.shape[-1])
            self._add(found, [parts[place][0] for place in range(first, first + len(lengths))], logits, lengths)
        if found is None:
            message = "there is no sequence to pool"
            raise ValueError(message)
        return self._weights(found)

    def _add(self, found: Tensor, places: Sequence[int], logits: Tensor, lengths: Sequence[int]) -> None:
        """Take the logits of some parts into the results of their sequences; a logarithm of the largest comes last."""
        for place, row in zip(places, self.reduce(logits, tuple(lengths), "max"), strict=True):
            torch.maximum(found[place], row, out=found[place])

    def _weights(self, found: Tensor) -> Tensor:
        """What was found, as weights: the logarithm keeps order, so that of the largest logit is the largest."""
        return self._saturated(found)

    def _saturated(self, positive: Tensor) -> Tensor:
        weights = torch.log1p(positive)
        return torch.log1p(weights) if self.log_again else weights


class SpladeSumPooling(SpladePooling):
    """SPLADE_SUM: over all tokens, the sum of ``log(1 + relu(logit))`` (Formal et al., 2021, arXiv 2107.05720)."""

    def _add(self, found: Tensor, places: Sequence[int], logits: Tensor, lengths: Sequence[int]) -> None:
        """Add the weights of some parts to those of their sequences."""
        weights = self._saturated(torch.relu(logits))
        for place, row in zip(places, self.reduce(weights, tuple(lengths), "sum"), strict=True):
            found[place] += row

    def _weights(self, found: Tensor) -> Tensor:
        """The sums as they are."""
        return found


class SpladeMaxLogPooling(SpladePooling):
    """SPLADE_MAX_LOG: the largest ``log(1 + log(1 + relu(logit)))`` (Geng et al., 2025, arXiv 2504.14839)."""

    log_again = True


class SpladeSumLogPooling(SpladeSumPooling):
    """SPLADE_SUM_LOG: the sum of ``log(1 + log(1 + relu(logit)))``."""

    log_again = True


def _parts(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """The sequences cut into parts of few rows, (sequence, rows) each.

    Where a sequence is cut does not depend on the others, so that its sum does not either.
    """
    return [
        (place, min(ROWS_AT_ONCE, length - start))
        for place, length in enumerate(lengths)
        for start in range(0, length, ROWS_AT_ONCE)
    ]


def _blocks(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Neighbouring parts that have few rows together: their first row, the first of them, the rows of each."""
    starts = list(accumulate((length for _, length in parts), initial=0))
    first = 0
    for place in range(1, len(parts) + 1):
        if place == len(parts) or starts[place + 1] - starts[first] > ROWS_AT_ONCE:
            yield starts[first], first, [length for _, length in parts[first:place]]
            first = place
