"""Calibrated: what stands between a classifier's logits and its activation."""

from torch import Tensor, nn

from millpond.context import Context


class Calibrated(nn.Module):
    """``(classifier(x) - logit_mean) / logit_sigma``, as the pooler config says; the logits as they are by default."""

    def __init__(self, ctx: Context, classifier: nn.Module) -> None:
        super().__init__()
        config = ctx.pooler_config
        self.classifier = classifier
        self.mean = config.logit_mean if config.logit_mean is not None else config.logit_bias
        self.sigma = config.logit_sigma

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, num_labels]."""
        logits: Tensor = self.classifier(x)
        if self.mean is not None:
            logits = logits - self.mean
        return logits if self.sigma is None else logits / self.sigma
