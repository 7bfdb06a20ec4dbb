"""The records of models whose attention caps scores or adds biases. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")
TOKEN_TASKS = ("token_classify",)
CLASSES = "classes or a score of a text, or of a pair of texts"


def biased() -> Iterator[ArchitectureSpec]:
    """Gemma 2, MPNet and Jina's BERT."""
    yield ArchitectureSpec(
        name="Gemma2Model",
        target="millpond_models.gemma2:Gemma2Model",
        summary="Gemma 2 (Gemma Team, 2024), with capped scores and windows in every other layer",
        tasks=EMBEDDING_TASKS,
        pooling="LAST",
        positions="relative",
    )
    yield ArchitectureSpec(
        name="MPNetModel",
        target="millpond_models.mpnet:MPNetModel",
        summary="MPNet (Song et al., 2020), BERT with learnt biases for distances",
        tasks=EMBEDDING_TASKS,
        pooling="CLS",
        positions="absolute_after_pad",
    )
    yield ArchitectureSpec(
        name="MPNetForSequenceClassification",
        target="millpond_models.mpnet:MPNetForSequenceClassification",
        summary=CLASSES,
        tasks=CLASSIFYING_TASKS,
        pooling="CLS",
        positions="absolute_after_pad",
    )
    yield ArchitectureSpec(
        name="MPNetForTokenClassification",
        target="millpond_models.mpnet:MPNetForTokenClassification",
        summary="classes of each token",
        tasks=TOKEN_TASKS,
        positions="absolute_after_pad",
    )
    yield ArchitectureSpec(
        name="JinaBertModel",
        target="millpond_models.jinabert:JinaBertModel",
        summary="Jina's BERT (Günther et al., 2023), with linear biases for distances and gates",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
    )
    yield ArchitectureSpec(
        name="JinaBertForSequenceClassification",
        target="millpond_models.jinabert:JinaBertForSequenceClassification",
        summary=CLASSES,
        tasks=CLASSIFYING_TASKS,
        pooling="CLS",
    )
