"""The records of encoders with rotary positions. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")


JINA_V3 = {
    "position_embedding_type": "rotary",
    "rotary_emb_base": 20_000.0,
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 1,
}
"""What config.json of transformers' JinaEmbeddingsV3 means, in the words of the published one."""

JINA_V3_FOLDERS = {
    "retrieval_query": "retrieval.query",
    "retrieval_passage": "retrieval.passage",
    "text_matching": "text-matching",
}
"""The names that the published files have for adapters whose folders are called otherwise."""


def rotary_encoders() -> Iterator[ArchitectureSpec]:
    """ModernBERT, Nomic's BERT, GTE and Jina's XLM-RoBERTa as transformers names it, alone and with classifiers."""
    yield from jina_v3()
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
    yield ArchitectureSpec(
        name="NomicBertForSequenceClassification",
        target="millpond_models.nomic:NomicBertForSequenceClassification",
        summary="classes or a score of a text, or of a pair of texts",
        tasks=CLASSIFYING_TASKS,
        pooling="CLS",
    )
    yield ArchitectureSpec(
        name="NomicBertForTokenClassification",
        target="millpond_models.nomic:NomicBertForTokenClassification",
        summary="classes of each token",
        tasks=("token_classify",),
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


def jina_v3() -> Iterator[ArchitectureSpec]:
    """jina-embeddings-v3 by the names of transformers; as published it is an XLMRobertaModel."""
    yield ArchitectureSpec(
        name="JinaEmbeddingsV3Model",
        target="millpond_models.roberta:RobertaModel",
        summary="jina-embeddings-v3 (Sturua et al., 2024): XLM-RoBERTa with rotary positions",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
        adapters_key="lora_adaptations",
        adapter_folders=JINA_V3_FOLDERS,
        defaults=JINA_V3,
    )
    yield ArchitectureSpec(
        name="JinaEmbeddingsV3ForSequenceClassification",
        target="millpond_models.bert_heads:RobertaForSequenceClassification",
        summary="classes or a score of a text, or of a pair of texts",
        tasks=CLASSIFYING_TASKS,
        pooling="CLS",
        defaults=JINA_V3,
    )
    yield ArchitectureSpec(
        name="JinaEmbeddingsV3ForTokenClassification",
        target="millpond_models.bert_heads:RobertaForTokenClassification",
        summary="classes of each token",
        tasks=("token_classify",),
        defaults=JINA_V3,
    )
