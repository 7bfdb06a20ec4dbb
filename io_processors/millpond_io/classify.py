"""The IO processor of the classifying tasks: text or token ids to classes, of the whole or of each token."""

from millpond.params import PoolingParams
from millpond_io.text import TextProcessor


class ClassifyProcessor(TextProcessor):
    """Text or token ids to probabilities or scores: one row a prompt, or one a token or step."""

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the model's config and checked against the task."""
        return self.completed(given, supported=("use_activation",))
