"""Classifier: what models share whose every task ends in one classifier of their own."""

import torch
from torch import nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond_models.heads.dense import DenseHead


class Classifier(PoolingModel):
    """A model whose tasks pool differently, and then apply the same classifier."""

    classifier: nn.Module

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Pooled rows [num_rows, hidden] to logits [num_rows, num_labels]; by default one linear map.

        Args:
            ctx: The context of heads: float32, not quantised.
        """
        return Linear(ctx, ctx.config.hidden_size, ctx.model.classification.num_labels)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task, with the model's one classifier for head."""
        if not hasattr(self, "classifier"):
            self.classifier = self.build_classifier(ctx.for_head())
        return self.classifier_pooler(ctx, task, self.classifier)


class TanhClassifier(Classifier):
    """A model whose classifier is ``output(tanh(dense(x)))``, such as BERT's, with the pooler of its training."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Both maps as one head."""
        return DenseHead(
            ctx, size=ctx.config.hidden_size, num_labels=ctx.model.classification.num_labels, activation=torch.tanh
        )
