"""Base classes of models with one classifier for all their tasks."""

import torch
from torch import nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond_modeling.classifier import classifier_pooler
from millpond_models.heads.dense import DenseHead


class Classifier(PoolingModel):
    """A model whose tasks pool differently and then apply the same classifier."""

    classifier: nn.Module

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build the classifier, [num_rows, hidden_size] -> [num_rows, num_labels]; by default one linear layer.

        Args:
            ctx: The context of heads: float32, not quantized.
        """
        return Linear(ctx, ctx.config.hidden_size, ctx.model.classification.num_labels)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler of a task, with the shared classifier as its head."""
        if not hasattr(self, "classifier"):
            self.classifier = self.build_classifier(ctx.for_head())
        return classifier_pooler(ctx, task, self.classifier)


class TanhClassifier(Classifier):
    """A model with the classifier ``output(tanh(dense(x)))``, such as BERT's pretraining pooler and classifier."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build both layers as one head."""
        return DenseHead(
            ctx, size=ctx.config.hidden_size, num_labels=ctx.model.classification.num_labels, activation=torch.tanh
        )
