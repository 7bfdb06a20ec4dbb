"""The similarity function in config_sentence_transformers.json, for text vectors or token vectors."""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)
VECTOR_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
TOKEN_SIMILARITIES = ("maxsim", "meanmaxsim")


def stated_similarity(name: object, path: Path) -> str | None:
    """Return the name of a similarity function; None if it is not stated, or unknown, which is logged.

    Args:
        name: The value of ``similarity_fn_name``.
        path: The file that states it, for the log.
    """
    if name is None:
        return None
    available = (*VECTOR_SIMILARITIES, *TOKEN_SIMILARITIES)
    if isinstance(name, str) and name.lower() in available:  # PyLate writes "MaxSim"
        return name
    logger.warning("%s: ignoring the unknown similarity_fn_name %r. Available: %s", path, name, ", ".join(available))
    return None
