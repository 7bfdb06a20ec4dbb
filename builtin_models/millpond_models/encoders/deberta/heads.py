"""DeBERTa with a text or token classifier."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond_models.encoders.deberta.model import DebertaV2Model
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.dense import DenseHead
from millpond_models.layers.activations import hidden_activation


class DebertaV2ForSequenceClassification(Classifier, DebertaV2Model):
    """DeBERTa, then ``classifier(activation(dense(x)))``, on the first token (``classify``) or every token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DebertaV2Model.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (
        r"embeddings\.position_ids",
        r"(?:cls|lm_head|lm_predictions|mask_predictions)\..*",
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build the pretraining pooler and the classifier as one head."""
        return DenseHead(
            ctx,
            size=ctx.config.hidden_size,
            num_labels=ctx.model.classification.num_labels,
            activation=hidden_activation(ctx, ctx.config.get("pooler_hidden_act", "gelu")),
        )


class DebertaV2ForTokenClassification(Classifier, DebertaV2Model):
    """DeBERTa with a linear classifier of each token."""
