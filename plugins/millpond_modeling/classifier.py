"""Classifiers of pooled rows: their poolers, the scaling of logits, and logits of vocabulary tokens."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import ModelContext


def classifier_pooler(ctx: ModelContext, task: str, classifier: nn.Module) -> nn.Module:
    """Build the pooler of a classification task, with the configured logit scaling and activation.

    Args:
        ctx: The model's context.
        task: The name of the task.
        classifier: The module that maps pooled rows [num_rows, hidden] to logits [num_rows, num_labels].
    """
    return ctx.pooler(task, head=LogitScaling(ctx, classifier), activation=ctx.model.classification.activation)


class TokenLogits(nn.Module):
    """A classifier whose classes are vocabulary tokens; it computes only the logits that a caller requests."""

    takes_tokens: ClassVar = True

    def check(self, token_ids: Sequence[int]) -> None:
        """Reject tokens whose logits cannot be computed; see ``Pooler.check``."""

    def forward(self, x: Tensor, token_ids: Sequence[int]) -> Tensor:
        """[num_rows, hidden] -> [num_rows, len(token_ids)].

        Args:
            x: Pooled rows.
            token_ids: The tokens whose logits are returned (``returned_token_ids``), in this order; already checked.
        """
        raise NotImplementedError


class LogitScaling(nn.Module):
    """``(classifier(x) - logit_mean) / logit_sigma`` with the pooler config's values; unscaled logits by default.

    Attributes:
        takes_tokens: True if the classes are tokens, which each call specifies.
    """

    def __init__(self, ctx: ModelContext, classifier: nn.Module) -> None:
        super().__init__()
        config = ctx.pooler_config
        self.classifier = classifier
        self.mean = config.logit_mean if config.logit_mean is not None else config.logit_bias
        self.sigma = config.logit_sigma
        self.takes_tokens: bool = getattr(classifier, "takes_tokens", False)

    def check(self, token_ids: Sequence[int]) -> None:
        """Reject tokens whose logits the classifier cannot compute; see ``Pooler.check``."""
        if isinstance(self.classifier, TokenLogits):
            self.classifier.check(token_ids)

    def forward(self, x: Tensor, token_ids: Sequence[int] = ()) -> Tensor:
        """[num_rows, hidden] -> [num_rows, num_labels], or [num_rows, len(token_ids)] if the classes are tokens."""
        logits: Tensor = self.classifier(x, token_ids) if self.takes_tokens else self.classifier(x)
        if self.mean is not None:
            logits = logits - self.mean
        return logits if self.sigma is None else logits / self.sigma
