"""ModernBERT with a classifier behind it, for whole texts and for each token: the same head, pooled differently."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond.loading.classification import LATE_POOLING, stated_pooling
from millpond.types.errors import CheckpointError
from millpond_models.encoders.modernbert.model import ModernBertModel, norm_bias, norm_eps
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.norm import NormHead


class ModernBertClassifier(Classifier, ModernBertModel):
    """ModernBERT, then ``classifier(norm(activation(dense(x))))`` of what a task pools: a text, or each token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *ModernBertModel.weight_names,
        (r"head\.(dense|norm)\.(weight|bias)", r"classifier.\1.\2"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"decoder\..*",)

    def build_classifier(self, ctx: Context) -> nn.Module:
        """The head of the training and the classifier as one.

        Raises:
            CheckpointError: If config.json asks for the mean of the logits of tokens, which is EuroBERT's alone.
        """
        if stated_pooling(ctx.config) == LATE_POOLING:
            message = "config.json: classifier_pooling 'late' is not known of ModernBERT; known are 'cls', 'mean'"
            raise CheckpointError(message)
        return NormHead(
            ctx,
            size=ctx.config.hidden_size,
            num_labels=ctx.model.classification.num_labels,
            activation=ctx.config.get("classifier_activation", "gelu"),
            dense_bias=bool(ctx.config.get("classifier_bias", False)),
            norm_bias=norm_bias(ctx),
            eps=norm_eps(ctx),
        )
