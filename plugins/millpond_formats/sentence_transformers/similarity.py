"""The similarity that config_sentence_transformers.json names for vectors of texts or of tokens."""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)
OF_TEXTS = ("cosine", "dot", "euclidean", "manhattan")
OF_TOKENS = ("maxsim", "meanmaxsim")


def stated_similarity(said: object, path: Path) -> str | None:
    """What a checkpoint says, None for nothing; of what nobody knows, which means nothing, the log tells.

    Args:
        said: ``similarity_fn_name``.
        path: The file that says it.
    """
    if said is None:
        return None
    if isinstance(said, str) and said.lower() in (*OF_TEXTS, *OF_TOKENS):  # PyLate writes MaxSim
        return said
    known = ", ".join((*OF_TEXTS, *OF_TOKENS))
    logger.warning("%s: similarity_fn_name %r is passed over: known are %s", path, said, known)
    return None
