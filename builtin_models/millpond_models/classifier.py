"""Classifier: what models share whose every task ends in one classifier of their own."""

from torch import nn

from millpond.context import Context
from millpond.nn import PoolingModel


class Classifier(PoolingModel):
    """A model whose tasks pool differently, and then apply the same classifier."""

    classifier: nn.Module

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Pooled rows [num_rows, hidden] to logits [num_rows, num_labels].

        Args:
            ctx: The context of heads: float32, not quantised.
        """
        raise NotImplementedError

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task, with the model's one classifier for head."""
        if not hasattr(self, "classifier"):
            self.classifier = self.build_classifier(ctx.for_head())
        return self.classifier_pooler(ctx, task, self.classifier)
