"""Filling texts up with padding, for models that were trained on texts of one length and read the padding too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millpond.context import Context
from millpond.types.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Puts padding behind the tokens of a text, or before them.

    Attributes:
        length: The tokens that every text gets.
        token: The id of the padding.
        side: "right" or "left".
    """

    length: int
    token: int
    side: str

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """[num_tokens] -> [length]; longer ones as they are."""
        padding = np.full(max(self.length - len(ids), 0), self.token, dtype=np.int64)
        parts = (padding, ids) if self.side == "left" else (ids, padding)
        return np.concatenate(parts)


def padding_token(ctx: Context) -> int | None:
    """Return the id of the padding token, of the tokenizer's files or of config.json; None if neither names it."""
    own = None if ctx.tokenizer is None else ctx.tokenizer.pad_token_id
    token = ctx.config.of_text.get("pad_token_id") if own is None else own
    return token if isinstance(token, int) else None


def filling_of(ctx: Context) -> Filling | None:
    """How a model's texts are filled up; None if they are not.

    Raises:
        CheckpointError: If no file says which token is the padding.
    """
    spec = ctx.registry.architectures.find(ctx.model.architecture)
    if spec is None or not spec.spec.text.pad_to_max_length:
        return None
    token = padding_token(ctx)
    if token is None:
        message = f"the model {ctx.model.model!r} reads texts of one length, and no file says which token fills them up"
        raise CheckpointError(message)
    side = "right" if ctx.tokenizer is None else ctx.tokenizer.padding_side
    return Filling(length=ctx.model.max_model_len, token=token, side=side)
