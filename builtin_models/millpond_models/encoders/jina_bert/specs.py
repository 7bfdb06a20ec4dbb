"""Specs of Jina's BERT and its published models."""

from millpond_models.spec_helpers.architectures import embedder, text_classifier
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "JinaBertModel",
        "millpond_models.encoders.jina_bert.model:JinaBertModel",
        "Jina's BERT (Günther et al., 2023), with ALiBi and GLU",
        pooling="MEAN",
    ),
    text_classifier(
        "JinaBertForSequenceClassification",
        "millpond_models.encoders.jina_bert.model:JinaBertForSequenceClassification",
    ),
)
PUBLISHED = (
    *models(
        "JinaBertModel",
        "jinaai/jina-embeddings-v2-base-en",
        "jinaai/jina-embeddings-v2-small-en",
        "jinaai/jina-embeddings-v2-base-code",
        checkpoint_architecture="JinaBertForMaskedLM",
    ),
    *models(
        "JinaBertForSequenceClassification",
        "jinaai/jina-reranker-v1-tiny-en",
        "jinaai/jina-reranker-v1-turbo-en",
    ),
)
