"""Padding of texts to the maximum length, for models that were trained with padded texts and attend to the padding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.types.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Pads the tokens of a text.

    Attributes:
        length: The number of tokens after padding.
        token: The id of the padding token.
        side: "right" or "left".
    """

    length: int
    token: int
    side: str

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """[num_tokens] -> [length]; longer texts are not changed."""
        padding = np.full(max(self.length - len(ids), 0), self.token, dtype=np.int64)
        parts = (padding, ids) if self.side == "left" else (ids, padding)
        return np.concatenate(parts)


def padding_token(ctx: Context) -> int | None:
    """Return the id of the padding token, from the tokenizer's files or config.json; None if neither names it."""
    pad_token_id = None if ctx.tokenizer is None else ctx.tokenizer.pad_token_id
    token = ctx.config.of_text.get("pad_token_id") if pad_token_id is None else pad_token_id
    return token if isinstance(token, int) else None


def padding_of(ctx: Context) -> Padding | None:
    """Return the padding of a model's texts; None if they are not padded.

    Raises:
        CheckpointError: If no file names the padding token.
    """
    spec = ctx.registry.architectures.find(ctx.model.architecture)
    if spec is None or not spec.spec.text.pad_to_max_length:
        return None
    token = padding_token(ctx)
    if token is None:
        message = f"the model {ctx.model.model!r} pads texts to its maximum length, and no file names the padding token"
        raise CheckpointError(message)
    side = "right" if ctx.tokenizer is None else ctx.tokenizer.padding_side
    return Padding(length=ctx.model.max_model_len, token=token, side=side)
