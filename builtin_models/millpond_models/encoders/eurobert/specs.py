"""Specs of EuroBERT and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import models

ARCHITECTURES = encoder_family(
    "EuroBert",
    model="millpond_models.encoders.eurobert.model:EuroBertModel",
    heads="millpond_models.encoders.eurobert.model:EuroBert",
    summary="EuroBERT (Boizard et al., 2025): bidirectional Llama",
    pooling="MEAN",
    classifier_pooling="MEAN",
)
PUBLISHED = models("EuroBertModel", "EuroBERT/EuroBERT-210m", checkpoint_architecture="EuroBertForMaskedLM")
