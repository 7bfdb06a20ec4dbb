"""By what the vectors of two texts are compared: as the checkpoint says, else by their cosine, or their product."""

import logging
from pathlib import Path

from millpond.types.config import Choice

logger = logging.getLogger(__name__)
OF_TEXTS = ("cosine", "dot", "euclidean", "manhattan")
OF_TOKENS = ("maxsim", "meanmaxsim")
STATED = "config_sentence_transformers.json"


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


def choose_similarity(stated: str | None, *, sparse: bool) -> Choice:
    """How one vector a text is compared.

    Args:
        stated: ``similarity_fn_name`` of the checkpoint; what is not for such vectors counts as None.
        sparse: Whether they are the weights of the vocabulary's tokens, whose length says something.
    """
    if stated in OF_TEXTS:
        return Choice(value=stated, origin=STATED)
    if sparse:
        return Choice(value="dot", origin="the pooling type")
    return Choice(value="cosine", origin="default")


def choose_late_similarity(stated: str | None) -> Choice:
    """How the vectors of two texts' tokens are compared, likewise."""
    if stated in OF_TOKENS:
        return Choice(value=stated, origin=STATED)
    return Choice(value="maxsim", origin="default")
