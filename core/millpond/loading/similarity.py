"""The similarity by which embeddings are compared: as the files state, else their cosine, or their product."""

from millpond.types.config import Choice

OF_TEXTS = ("cosine", "dot", "euclidean", "manhattan")
OF_TOKENS = ("maxsim", "meanmaxsim")


def choose_similarity(stated: Choice | None, *, sparse: bool) -> Choice:
    """How two vectors of texts are compared.

    Args:
        stated: The similarity that the files state; one that is not for such vectors counts as None.
        sparse: True if they are sparse vectors, whose length means something.
    """
    if stated is not None and stated.value in OF_TEXTS:
        return stated
    if sparse:
        return Choice(value="dot", origin="the pooling type")
    return Choice(value="cosine", origin="default")


def choose_late_similarity(stated: Choice | None) -> Choice:
    """How the vectors of two texts' tokens are compared, likewise."""
    if stated is not None and stated.value in OF_TOKENS:
        return stated
    return Choice(value="maxsim", origin="default")
