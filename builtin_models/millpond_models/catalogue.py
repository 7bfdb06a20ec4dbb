"""The records of models that classify and reward, and of converters. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

CLASSIFYING_TASKS = ("classify", "token_classify")
ENCODERS = {
    # family: the class that serves it, how its positions are counted
    "Bert": ("Bert", "absolute"),
    "Roberta": ("Roberta", "absolute_after_pad"),
    "XLMRoberta": ("Roberta", "absolute_after_pad"),
}


def classifiers() -> Iterator[ArchitectureSpec]:
    """Encoders with classifiers of their own."""
    for family, (served_by, positions) in ENCODERS.items():
        yield ArchitectureSpec(
            name=f"{family}ForSequenceClassification",
            target=f"millpond_models.bert_heads:{served_by}ForSequenceClassification",
            summary="classes or a score of a text, or of a pair of texts",
            tasks=CLASSIFYING_TASKS,
            pooling="CLS",
            positions=positions,
        )
        yield ArchitectureSpec(
            name=f"{family}ForTokenClassification",
            target=f"millpond_models.bert_heads:{served_by}ForTokenClassification",
            summary="classes of each token",
            tasks=("token_classify",),
            positions=positions,
        )
