"""Heads that return the logits of selected tokens of the vocabulary, in float32."""

from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond.types.errors import InvalidInputError
from millpond_modeling.classifier import TokenLogits

MAX_CACHED_TOKEN_SETS = 32  # requests use few different sets


class FixedTokenHead(TokenLogits):
    """Logits of fixed tokens; only their rows of the LM head are kept."""

    def __init__(self, ctx: Context, *, size: int, token_ids: Sequence[int]) -> None:
        super().__init__()
        self.rows = dict(zip(token_ids, count(), strict=False))
        self.linear = Linear(ctx, size, len(token_ids), bias=False)

    def check(self, token_ids: Sequence[int]) -> None:
        """Raise InvalidInputError for tokens without a row."""
        unknown = [token for token in token_ids if token not in self.rows]
        if unknown:
            message = (
                f"returned_token_ids={list(token_ids)}: the pooler_config of the loaded model allows only "
                f"{list(self.rows)}. Without returned_token_ids in pooler_config, each request may select its own"
            )
            raise InvalidInputError(message, parameter="returned_token_ids")

    def forward(self, x: Tensor, token_ids: Sequence[int]) -> Tensor:
        """[num_rows, size] -> [num_rows, len(token_ids)]; see ``TokenLogits``."""
        logits: Tensor = self.linear(x)
        return logits[..., [self.rows[token] for token in token_ids]] if token_ids else logits


class DynamicTokenHead(TokenLogits):
    """Logits of any tokens: the whole LM head is kept in the model's dtype, and only requested rows are computed.

    Attributes:
        dtype: The dtype of the parameters.
        weight: [vocab_size, size]; the word embeddings if these are tied.
        bias: [vocab_size], or None.
    """

    def __init__(self, ctx: Context, *, size: int, vocab_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.weight = nn.Parameter(torch.empty(vocab_size, size), requires_grad=False)
        self.bias: nn.Parameter | None = None
        self.kernel = ctx.op("linear")
        self.projections: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}

    def check(self, token_ids: Sequence[int]) -> None:
        """Raise InvalidInputError for an empty list and for tokens outside the vocabulary."""
        if not token_ids:
            message = (
                "a process reward model based on a causal language model needs returned_token_ids, the tokens of its "
                "softmax, such as those for good and bad: in PoolingParams, or in pooler_config for all requests"
            )
            raise InvalidInputError(message, parameter="returned_token_ids")
        if max(token_ids) >= len(self.weight):
            message = f"returned_token_ids={list(token_ids)}: the vocabulary has {len(self.weight)} tokens"
            raise InvalidInputError(message, parameter="returned_token_ids")

    def forward(self, x: Tensor, token_ids: Sequence[int]) -> Tensor:
        """[num_rows, size] -> [num_rows, len(token_ids)]; see ``TokenLogits``."""
        key = tuple(token_ids)
        projection = self.projections.get(key)
        return (self._build(key) if projection is None else projection)(x)

    def _build(self, token_ids: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        rows = list(token_ids)
        bias = None if self.bias is None else self.bias[rows].float()
        projection: Callable[[Tensor], Tensor] = self.kernel(self.weight[rows].float(), bias)
        if len(self.projections) < MAX_CACHED_TOKEN_SETS:
            self.projections[token_ids] = projection
        return projection
