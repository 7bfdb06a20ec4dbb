"""Specs of RoBERTa, XLM-RoBERTa and CamemBERT, and of their published models."""

from typing import Final

from millpond.plugin.specs import CheckpointLayout
from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import matryoshka, models

SUMMARY: Final = "RoBERTa: BERT with positions that start after the padding ID"
POSITIONS: Final = "absolute_after_pad"
ARCHITECTURES = (
    *encoder_family(
        "Roberta",
        "Camembert",
        model="millpond_models.encoders.roberta.model:RobertaModel",
        heads="millpond_models.encoders.roberta.heads:Roberta",
        summary=SUMMARY,
        positions=POSITIONS,
    ),
    *encoder_family(
        "XLMRoberta",
        model="millpond_models.encoders.jina_v3.model:JinaXLMRobertaModel",
        heads="millpond_models.encoders.jina_v3.heads:JinaXLMRoberta",
        summary=SUMMARY,
        positions=POSITIONS,
        checkpoint=CheckpointLayout(adapters_key="lora_adaptations"),
    ),
)
PUBLISHED = (
    *models("RobertaModel", "sentence-transformers/all-roberta-large-v1"),
    *models("RobertaForSequenceClassification", "cross-encoder/quora-roberta-base"),
    *models("XLMRobertaModel", "intfloat/multilingual-e5-base", "intfloat/multilingual-e5-large"),
    matryoshka("XLMRobertaModel", "Snowflake/snowflake-arctic-embed-l-v2*", 1024, 256),
    matryoshka("XLMRobertaModel", "jinaai/jina-embeddings-v3*", 32, 64, 128, 256, 512, 768, 1024),
    *models("CamembertModel", "dangvantuan/sentence-camembert-base"),
    *models(
        "XLMRobertaForSequenceClassification",
        "BAAI/bge-reranker-v2-m3",
        "jinaai/jina-reranker-v2-base-multilingual",
    ),
)
