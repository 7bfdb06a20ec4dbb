"""Specs of DistilBERT and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import models

ARCHITECTURES = encoder_family(
    "DistilBert",
    model="millpond_models.encoders.distilbert.model:DistilBertModel",
    heads="millpond_models.encoders.distilbert.model:DistilBert",
    summary="DistilBERT (Sanh et al., 2019): BERT with half the layers",
    positions="absolute",
)
PUBLISHED = (
    *models(
        "DistilBertModel",
        "sentence-transformers/msmarco-distilbert-base-v4",
        "sentence-transformers/distiluse-base-multilingual*",
    ),
    *models("DistilBertForSequenceClassification", "distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
    *models("DistilBertForTokenClassification", "elastic/distilbert-base-uncased-finetuned-conll03-english"),
)
