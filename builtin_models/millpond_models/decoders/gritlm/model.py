r"""GritLM: bidirectional Mistral whose instructions are not pooled (Muennighoff et al., 2024, arXiv 2402.09906).

A prompt is ``<s><|user|>\ninstruction\n<|embed|>\ntext``, or without an instruction ``<s><|embed|>\ntext``.
"""

import logging
from collections.abc import Sequence

from torch import nn

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.mistral.model import MistralModel
from millpond_models.layers.span_pooling import SpanPooling

logger = logging.getLogger(__name__)
# Tokens of the marker before a text; the first depends on the preceding text.
FIRST_MARKER_TOKENS = ("▁<", "<")
MARKER_TOKENS = ("|", "embed", "|", ">", "<0x0A>")
POOLED_TASK = "embed"


class GritLM(MistralModel):
    """Bidirectional Mistral; embeddings pool only the tokens after the marker."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json cannot change it
        """Return False."""
        return False

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  config.json's is for generation
        """Return None: full attention."""
        return None

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the configured pooler, restricted to the text after the instruction."""
        pooler = ctx.pooler(task)
        return TextPooling(ctx, pooler) if task == POOLED_TASK else pooler


class TextPooling(SpanPooling):
    """Passes the text after the instruction of each prompt to a pooler."""

    def __init__(self, ctx: Context, pooler: nn.Module) -> None:
        super().__init__(pooler)
        self.first_marker_ids = tuple(token_id(ctx, token) for token in FIRST_MARKER_TOKENS)
        self.marker_ids = [token_id(ctx, token) for token in MARKER_TOKENS]
        self.bos_id = token_id(ctx, "<s>")

    def span(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the span of the text, or the whole prompt if the text is empty and would have no mean."""
        start = self.instruction_length(ids)
        return (start if start < len(ids) else 0), len(ids)

    def instruction_length(self, ids: Sequence[int]) -> int:
        """Return the number of tokens before the text: up to the end of the marker, or ``<s>`` without a marker."""
        if ids[0] != self.bos_id:
            logger.warning("a prompt for GritLM does not begin with <s>: its instruction is pooled too")
            return 0
        size = len(self.marker_ids)
        for start in range(2, len(ids) - size + 1):
            if ids[start - 1] in self.first_marker_ids and list(ids[start : start + size]) == self.marker_ids:
                return start + size
        return 1


def token_id(ctx: Context, token: str) -> int:
    """Return the ID of a token of the vocabulary.

    Raises:
        CheckpointError: If there is no tokenizer, or it does not have the token.
    """
    index = None if ctx.tokenizer is None else ctx.tokenizer.backend.token_to_id(token)
    if index is None:
        message = (
            f"GritLM finds the text of a prompt by the marker <|embed|>, and the tokenizer has no token {token!r}: "
            "use the Mistral tokenizer of GritLM's checkpoints"
        )
        raise CheckpointError(message)
    return int(index)
