"""ModernBERT with a classifier behind it, for whole texts and for each token: the same head, pooled differently."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond_models.classifier import Classifier
from millpond_models.layers.norm_head import NormHead
from millpond_models.modernbert import ModernBertModel, norm_bias, norm_eps

POOLING: Mapping[str, str] = MappingProxyType({"cls": "CLS", "mean": "MEAN"})


class ModernBertForTokenClassification(Classifier, ModernBertModel):
    """ModernBERT, then ``classifier(norm(activation(dense(x))))`` of each token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *ModernBertModel.weight_names,
        (r"head\.(dense|norm)\.(weight|bias)", r"classifier.\1.\2"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"decoder\..*",)

    def build_classifier(self, ctx: Context) -> nn.Module:
        """The head of the training and the classifier as one."""
        return NormHead(
            ctx,
            size=ctx.config.hidden_size,
            num_labels=ctx.model.num_labels,
            activation=ctx.config.get("classifier_activation", "gelu"),
            dense_bias=bool(ctx.config.get("classifier_bias", False)),
            norm_bias=norm_bias(ctx),
            eps=norm_eps(ctx),
        )


class ModernBertForSequenceClassification(ModernBertForTokenClassification):
    """The same of the first token or of the mean, as ``classifier_pooling`` says, unless the pooler config does."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task."""
        return super().build_pooler(with_pooling(ctx), task)


def with_pooling(ctx: Context) -> Context:
    """The context with the pooling type that config.json names, where neither user nor other files say.

    Raises:
        CheckpointError: If it is none that is known.
    """
    if ctx.pooler_config.seq_pooling_type is not None:
        return ctx
    named = ctx.config.get("classifier_pooling", "cls")
    if named not in POOLING:
        message = f"config.json: classifier_pooling must be one of {', '.join(map(repr, POOLING))}; got {named!r}"
        raise CheckpointError(message)
    pooler_config = ctx.pooler_config.model_copy(update={"seq_pooling_type": POOLING[named]})
    return replace(ctx, model=replace(ctx.model, pooler_config=pooler_config))
