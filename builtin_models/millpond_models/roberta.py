"""RobertaModel and XLMRobertaModel: BERT whose positions start behind the padding id (arXiv 1907.11692, 1911.02116)."""

from millpond.context import Context
from millpond.loading.lengths import padding_id
from millpond_models.bert import BertModel


class RobertaModel(BertModel):
    """BERT's layers and weight names; the first token of a text has the position ``pad_token_id + 1``."""

    weight_prefixes = ("roberta.", "model.")

    def first_position(self, ctx: Context) -> int:
        """The row of the position table that the first token of a sequence gets."""
        return padding_id(ctx.config) + 1
