"""The records of encoders with rotary positions. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")


def rotary_encoders() -> Iterator[ArchitectureSpec]:
    """ModernBERT, Nomic's BERT and GTE, alone and with classifiers."""
    yield ArchitectureSpec(
        name="ModernBertModel",
        target="millpond_models.modernbert:ModernBertModel",
        summary="ModernBERT (Warner et al., 2024), of which most layers attend to a window",
        tasks=EMBEDDING_TASKS,
        pooling="CLS",
    )
    yield ArchitectureSpec(
        name="ModernBertForSequenceClassification",
        target="millpond_models.modernbert_heads:ModernBertClassifier",
        summary="classes or a score of a text, or of a pair of texts",
        tasks=CLASSIFYING_TASKS,
        pooling="CLS",
    )
    yield ArchitectureSpec(
        name="NomicBertModel",
        target="millpond_models.nomic:NomicBertModel",
        summary="Nomic's BERT (Nussbaum et al., 2024), with rotary positions, gates and experts",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
    )
    for name in ("GteModel", "GteNewModel", "NewModel"):
        yield ArchitectureSpec(
            name=name,
            target="millpond_models.gte:GteModel",
            summary="GTE (Zhang et al., 2024): BERT with rotary positions and gates",
            tasks=EMBEDDING_TASKS,
            pooling="CLS",
        )
    for family in ("GteNew", "New", "Gte"):
        yield ArchitectureSpec(
            name=f"{family}ForSequenceClassification",
            target="millpond_models.gte:GteForSequenceClassification",
            summary="classes or a score of a text, or of a pair of texts",
            tasks=CLASSIFYING_TASKS,
            pooling="CLS",
        )
        yield ArchitectureSpec(
            name=f"{family}ForTokenClassification",
            target="millpond_models.gte:GteForTokenClassification",
            summary="classes of each token",
            tasks=("token_classify",),
        )
    yield ArchitectureSpec(
        name="ModernBertForTokenClassification",
        target="millpond_models.modernbert_heads:ModernBertClassifier",
        summary="classes of each token",
        tasks=("token_classify",),
    )
