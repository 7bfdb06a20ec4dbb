"""Specs of ModernBERT and its published models."""

from typing import Final

from millpond_models.spec_helpers.architectures import embedder, text_classifier, token_classifier
from millpond_models.spec_helpers.published import models

CLASSIFIER: Final = "millpond_models.encoders.modernbert.heads:ModernBertClassifier"
ARCHITECTURES = (
    embedder(
        "ModernBertModel",
        "millpond_models.encoders.modernbert.model:ModernBertModel",
        "ModernBERT (Warner et al., 2024), with a sliding window in most layers",
        pooling="CLS",
    ),
    text_classifier("ModernBertForSequenceClassification", CLASSIFIER),
    token_classifier("ModernBertForTokenClassification", CLASSIFIER),
)
PUBLISHED = (
    *models("ModernBertModel", "Alibaba-NLP/gte-modernbert-base", "nomic-ai/modernbert-embed-base"),
    *models("ModernBertForTokenClassification", "disham993/electrical-ner-ModernBERT-base"),
)
