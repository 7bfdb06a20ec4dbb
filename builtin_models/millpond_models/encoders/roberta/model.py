"""RobertaModel: BERT whose positions start behind the padding id (Liu et al., 2019, arXiv 1907.11692)."""

from millpond.context import ModelContext
from millpond.loading.lengths import padding_id
from millpond_models.encoders.bert.model import BertModel


class RobertaModel(BertModel):
    """BERT's layers and weight names; the first token of a text has the position ``pad_token_id + 1``."""

    weight_prefixes = ("roberta.", "model.")

    def first_position(self, ctx: ModelContext) -> int:
        """The row of the position table that the first token of a sequence gets."""
        return padding_id(ctx.config) + 1
