"""The pooling before a classifier that config.json states; "late" is the mean of the logits of all tokens."""

from millpond.types.config import CheckpointConfig

LATE_POOLING = "late"


def stated_pooling(config: CheckpointConfig) -> object:
    """Return ``classifier_pooling``, else the older ``clf_pooling``."""
    named = config.get("classifier_pooling")
    return config.get("clf_pooling") if named is None else named
