"""Specs of Mistral and its published models."""

from millpond_models.spec_helpers.architectures import embedder
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "MistralModel",
        "millpond_models.decoders.mistral.model:MistralModel",
        "Mistral (Jiang et al., 2023), with a sliding window",
        pooling="LAST",
    ),
)
PUBLISHED = (
    *models("MistralModel", "intfloat/e5-mistral-7b-instruct"),
    *models("MistralModel", "peiyi9979/math-shepherd-mistral-7b-prm", checkpoint_architecture="MistralForCausalLM"),
)
