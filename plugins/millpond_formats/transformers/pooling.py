"""Pooling types in config.json: before a classifier, and under the keys of single architectures."""

from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

CLASSIFIER_POOLING_TYPES = {"cls": "CLS", "bos": "CLS", "mean": "MEAN", "late": "MEAN"}  # late: the mean of all logits
NAMED_POOLING_TYPES = {"avg": "MEAN", "cls": "CLS", "last": "LAST"}


def stated_pooling(config: CheckpointConfig) -> object:
    """Return the pooling before a classifier in config.json: ``classifier_pooling``, else the older ``clf_pooling``."""
    named = config.get("classifier_pooling")
    return config.get("clf_pooling") if named is None else named


def classifier_pooling(config: CheckpointConfig) -> str | None:
    """Return the pooling type for ``classifier_pooling`` in config.json; None if the key is missing.

    Raises:
        CheckpointError: If the value is unknown.
    """
    named = stated_pooling(config)
    if named is None:
        return None
    if not isinstance(named, str) or named not in CLASSIFIER_POOLING_TYPES:
        allowed = ", ".join(map(repr, CLASSIFIER_POOLING_TYPES))
        message = f"config.json: classifier_pooling must be one of {allowed}; got {named!r}"
        raise CheckpointError(message)
    return CLASSIFIER_POOLING_TYPES[named]


def named_pooling(config: CheckpointConfig, key: str) -> str | None:
    """Return the pooling type under a model-specific key of config.json or its text part; None if it is missing.

    Raises:
        CheckpointError: If the value is unknown.
    """
    named = config.get(key, config.of_text.get(key))
    if named is None:
        return None
    if not isinstance(named, str) or named not in NAMED_POOLING_TYPES:
        message = f"config.json: {key} must be one of {', '.join(map(repr, NAMED_POOLING_TYPES))}; got {named!r}"
        raise CheckpointError(message)
    return NAMED_POOLING_TYPES[named]
