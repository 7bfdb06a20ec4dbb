"""By what the vectors of two texts are compared: as the checkpoint says, else by their cosine, or their product."""

from millpond.config import Choice

OF_TEXTS = ("cosine", "dot", "euclidean", "manhattan")
OF_TOKENS = ("maxsim", "meanmaxsim")
STATED = "config_sentence_transformers.json"


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
