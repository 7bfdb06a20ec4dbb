"""ModernBERT with a classifier; texts and tokens use the same head."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.encoders.modernbert.model import ModernBertModel, norm_bias, norm_eps
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.classifier_pooling import LATE_POOLING, stated_pooling
from millpond_models.heads.norm import NormHead


class ModernBertClassifier(Classifier, ModernBertModel):
    """ModernBERT, then ``classifier(norm(activation(dense(x))))`` on pooled texts or on every token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *ModernBertModel.weight_names,
        (r"head\.(dense|norm)\.(weight|bias)", r"classifier.\1.\2"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"decoder\..*",)

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build the prediction head and the classifier as one head.

        Raises:
            CheckpointError: If config.json requests "late" pooling, which only EuroBERT has.
        """
        if stated_pooling(ctx.config) == LATE_POOLING:
            message = (
                f"config.json: unsupported classifier_pooling {LATE_POOLING!r} for ModernBERT. Supported: 'cls', 'mean'"
            )
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
