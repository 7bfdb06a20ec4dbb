"""Specs of BERT and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import matryoshka, models

ARCHITECTURES = encoder_family(
    "Bert",
    model="millpond_models.encoders.bert.model:BertModel",
    heads="millpond_models.encoders.bert.heads:Bert",
    summary="BERT (Devlin et al., 2018) and models with its architecture",
    positions="absolute",
)
PUBLISHED = (
    *models(
        "BertModel",
        "BAAI/bge-base-en-v1.5",
        "sentence-transformers/all-MiniLM-L6-v2",
        "intfloat/e5-small",
        "Snowflake/snowflake-arctic-embed-xs",
    ),
    matryoshka("BertModel", "Snowflake/snowflake-arctic-embed-m-v1.5*", 768, 256),
    matryoshka("BertModel", "mixedbread-ai/mxbai-embed-large*"),
    *models("BertForSequenceClassification", "cross-encoder/ms-marco-MiniLM-L-6-v2"),
    *models("BertForTokenClassification", "boltuix/NeuroBERT-NER"),
)
