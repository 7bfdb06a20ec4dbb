"""Heads whose classes are tokens: logits of the tokens that a caller names, at the rows that are pooled, in float32."""

from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond.nn.classifier import TokenLogits
from millpond.types.errors import InvalidInputError

REMEMBERED = 32  # sets of tokens whose rows are kept ready; callers name few


class TheseTokens(TokenLogits):
    """Logits of fixed tokens: only their rows of the head are there."""

    def __init__(self, ctx: Context, *, size: int, token_ids: Sequence[int]) -> None:
        super().__init__()
        self.places = dict(zip(token_ids, count(), strict=False))
        self.map = Linear(ctx, size, len(token_ids), bias=False)

    def check(self, token_ids: Sequence[int]) -> None:
        """Refuse tokens that it has no rows of."""
        unknown = [token for token in token_ids if token not in self.places]
        if unknown:
            message = (
                f"returned_token_ids={list(token_ids)}: the model was loaded for {list(self.places)} alone, by its "
                "pooler_config; without returned_token_ids there, every call may name its own"
            )
            raise InvalidInputError(message, parameter="returned_token_ids")

    def forward(self, x: Tensor, token_ids: Sequence[int]) -> Tensor:
        """[num_rows, size] -> [num_rows, len(token_ids)]; see ``TokenLogits``."""
        logits: Tensor = self.map(x)
        return logits[..., [self.places[token] for token in token_ids]] if token_ids else logits


class AnyTokens(TokenLogits):
    """Logits of any tokens: the whole head is there, in the model's dtype, and no more of it is computed than asked.

    Attributes:
        weight: [vocab_size, size]; the model's table of embeddings where these are tied.
        bias: [vocab_size], or None.
    """

    def __init__(self, ctx: Context, *, size: int, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, size), requires_grad=False)
        self.bias: nn.Parameter | None = None
        self.kernel = ctx.op("linear")
        self.maps: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}

    def check(self, token_ids: Sequence[int]) -> None:
        """Refuse no tokens at all, and those that the vocabulary has not."""
        if not token_ids:
            message = (
                "a process-reward model of a causal language model needs returned_token_ids: the tokens, such as those "
                "for good and bad, that its softmax is over; in PoolingParams, or in pooler_config for all calls"
            )
            raise InvalidInputError(message, parameter="returned_token_ids")
        if max(token_ids) >= len(self.weight):
            message = f"returned_token_ids={list(token_ids)}: the vocabulary has {len(self.weight)} tokens"
            raise InvalidInputError(message, parameter="returned_token_ids")

    def forward(self, x: Tensor, token_ids: Sequence[int]) -> Tensor:
        """[num_rows, size] -> [num_rows, len(token_ids)]; see ``TokenLogits``."""
        wanted = tuple(token_ids)
        ready = self.maps.get(wanted)
        return (self._ready(wanted) if ready is None else ready)(x)

    def _ready(self, token_ids: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        rows = list(token_ids)
        bias = None if self.bias is None else self.bias[rows].float()
        made: Callable[[Tensor], Tensor] = self.kernel(self.weight[rows].float(), bias)
        if len(self.maps) < REMEMBERED:
            self.maps[token_ids] = made
        return made
