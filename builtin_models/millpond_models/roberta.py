"""RobertaModel and XLMRobertaModel: BERT whose positions start behind the padding id (arXiv 1907.11692, 1911.02116).

With ``"position_embedding_type": "rotary"`` it is Jina's XLM-RoBERTa, without a table of positions, whose checkpoints
hold adapters for several tasks (Sturua et al., 2024, arXiv 2409.10173).
"""

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from millpond.context import Context
from millpond.loading.lengths import padding_id
from millpond.nn.placement import Placement
from millpond_models.adapters import merge_adapters
from millpond_models.bert import BertModel, check_positions
from millpond_models.flash_names import FLASH_NAMES
from millpond_models.layers.rotary import Rotary
from millpond_models.rotary_bert import rotary_of


class RobertaModel(BertModel):
    """BERT's layers and weight names; the first token of a text has the position ``pad_token_id + 1``."""

    weight_prefixes = ("roberta.", "model.")
    weight_names: ClassVar = (*BertModel.weight_names, *FLASH_NAMES)

    def first_position(self, ctx: Context) -> int:
        """The row of the position table that the first token of a sequence gets."""
        return padding_id(ctx.config) + 1

    def build_rotary(self, ctx: Context) -> Rotary | None:
        """Positions by rotation where config.json asks for them; ``rotary_emb_base`` is the base of the frequencies."""
        kind = check_positions(ctx, type(self).__name__, "absolute", "rotary")
        return rotary_of(ctx, theta=ctx.config.get("rotary_emb_base", 10_000.0)) if kind == "rotary" else None

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Placement:
        """Give the parameters their values, those of one adapter merged into them where there are adapters."""
        return super().load_weights(merge_adapters(weights, self.ctx.config))
