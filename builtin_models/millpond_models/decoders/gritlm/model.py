r"""GritLM: Mistral in both directions, whose instructions are read but not pooled (Muennighoff et al., 2402.09906).

A prompt is ``<s><|user|>\ninstruction\n<|embed|>\ntext``, or without an instruction ``<s><|embed|>\ntext``.
"""

import logging
from collections.abc import Sequence

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Pooler, PoolingMetadata
from millpond.types.errors import CheckpointError
from millpond.types.params import PoolingParams
from millpond_models.decoders.mistral.model import MistralModel

logger = logging.getLogger(__name__)
# The marker before a text, by the pieces of Mistral's vocabulary; the first depends on what stands before it.
OPENING = ("▁<", "<")
MARKER = ("|", "embed", "|", ">", "<0x0A>")
TASK = "embed"


class GritLM(MistralModel):
    """Mistral in both directions; an embedding is pooled of what stands behind the marker."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json has no say in it
        """Never."""
        return False

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  config.json's is for generation
        """None: all is attended to."""
        return None

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """As configured, of the text alone."""
        pooler = ctx.pooler(task)
        return TextPooling(ctx, pooler) if task == TASK else pooler


class TextPooling(nn.Module):
    """Hands a pooler what stands behind the instruction of each prompt; a part that a caller chose stays as it is."""

    def __init__(self, ctx: Context, pooler: Pooler) -> None:
        super().__init__()
        self.pooler = pooler
        self.opening = tuple(piece_id(ctx, piece) for piece in OPENING)
        self.marker = [piece_id(ctx, piece) for piece in MARKER]
        self.start = piece_id(ctx, "<s>")

    def check(self, params: PoolingParams) -> None:
        """As the pooler does."""
        self.pooler.check(params)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, dim], or a list of num_seqs tensors."""
        if metadata.starts:
            return self.pooler(hidden_states, metadata)  # type: ignore[no-any-return]  # modules are called so
        ids = metadata.input_ids.tolist()
        spans: list[tuple[int, int] | None] = []
        for offset, length in zip(metadata.offsets, metadata.lengths, strict=False):
            before = self.instruction_length(ids[offset : offset + length])
            spans.append((before if before < length else 0, length))  # of nothing, there is no mean
        rows, chosen = metadata.select(range(len(spans)), metadata.params, spans)
        pooled: Tensor | list[Tensor] = self.pooler(hidden_states if rows is None else hidden_states[rows], chosen)
        return pooled

    def instruction_length(self, ids: Sequence[int]) -> int:
        """How many tokens stand before the text of a prompt: all up to the marker's end; without one, ``<s>``."""
        if ids[0] != self.start:
            logger.warning("a prompt for GritLM does not begin with <s>: all of it is pooled, its instruction too")
            return 0
        size = len(self.marker)
        for place in range(2, len(ids) - size + 1):
            if ids[place - 1] in self.opening and list(ids[place : place + size]) == self.marker:
                return place + size
        return 1


def piece_id(ctx: Context, piece: str) -> int:
    """The id of a piece of the vocabulary.

    Raises:
        CheckpointError: If there is no tokenizer, or it has no such piece.
    """
    found = None if ctx.tokenizer is None else ctx.tokenizer.backend.token_to_id(piece)
    if found is None:
        message = (
            f"GritLM finds the text of a prompt by the marker <|embed|>, and the tokenizer has no piece {piece!r}: "
            "it needs the tokenizer of Mistral, which GritLM's checkpoints have"
        )
        raise CheckpointError(message)
    return int(found)
