"""RobertaModel: BERT with positions that start after the padding ID (Liu et al., 2019, arXiv 1907.11692)."""

from millpond.context import ModelContext
from millpond_models.encoders.bert.model import BertModel

DEFAULT_PADDING_ID = 1


class RobertaModel(BertModel):
    """BERT's layers and weight names; the first token of a text has the position ID ``pad_token_id + 1``."""

    weight_prefixes = ("roberta.", "model.")

    def first_position(self, ctx: ModelContext) -> int:
        """Return the position ID of the first token."""
        padding_id = ctx.config.get("pad_token_id")
        return (padding_id if isinstance(padding_id, int) else DEFAULT_PADDING_ID) + 1
