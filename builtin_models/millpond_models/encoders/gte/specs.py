"""Specs of GTE and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import matryoshka, models

ARCHITECTURES = encoder_family(
    "Gte",
    "GteNew",
    "New",
    model="millpond_models.encoders.gte.model:GteModel",
    heads="millpond_models.encoders.gte.model:Gte",
    summary="GTE (Zhang et al., 2024): BERT with rotary embeddings and GLU",
)
PUBLISHED = (
    matryoshka("GteModel", "Snowflake/snowflake-arctic-embed-m-v2*", 768, 256),
    matryoshka("GteNewModel", "Alibaba-NLP/gte-multilingual-base*"),
    *models("GteNewForSequenceClassification", "Alibaba-NLP/gte-multilingual-reranker-base"),
)
