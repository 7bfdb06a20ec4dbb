"""Specs of Nomic's BERT and its published models."""

from millpond_models.spec_helpers.architectures import encoder_family
from millpond_models.spec_helpers.published import matryoshka, models

ARCHITECTURES = encoder_family(
    "NomicBert",
    model="millpond_models.encoders.nomic.model:NomicBertModel",
    heads="millpond_models.encoders.nomic.model:NomicBert",
    summary="Nomic's BERT (Nussbaum et al., 2024), with rotary embeddings, GLU and experts",
    pooling="MEAN",
)
PUBLISHED = (
    *models("NomicBertModel", "nomic-ai/nomic-embed-text-v1"),
    matryoshka("NomicBertModel", "nomic-ai/nomic-embed-text-v1.5*"),
    matryoshka("NomicBertModel", "nomic-ai/nomic-embed-text-v2-moe*", 768, 256),
)
