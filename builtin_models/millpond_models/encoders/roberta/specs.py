"""The records of RoBERTa, XLM-RoBERTa and CamemBERT, and of their published models."""

from millpond.plugin.specs import CheckpointLayout
from millpond_models.records.architectures import encoder_family
from millpond_models.records.published import matryoshka, models

ARCHITECTURES = encoder_family(
    "Roberta",
    "XLMRoberta",
    "Camembert",
    model="millpond_models.encoders.roberta.model:RobertaModel",
    heads="millpond_models.encoders.bert.heads:Roberta",
    summary="BERT whose positions start behind the padding id",
    positions="absolute_after_pad",
    checkpoint=CheckpointLayout(adapters_key="lora_adaptations"),
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
