"""Specs of InternLM2 and its published models."""

from millpond.plugin.specs import ModelExtras, OutputShape
from millpond_models.spec_helpers.architectures import embedder, token_classifier
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "InternLM2Model",
        "millpond_models.decoders.internlm.model:InternLM2Model",
        "InternLM2 (Cai et al., 2024)",
        pooling="LAST",
        extras=ModelExtras(),
    ),
    token_classifier(
        "InternLM2ForRewardModel",
        "millpond_models.decoders.internlm.model:InternLM2ForRewardModel",
        "InternLM2 with one reward per token",
        output=OutputShape(num_labels=1),
        extras=ModelExtras(),
    ),
)
PUBLISHED = models("InternLM2ForRewardModel", "internlm/internlm2-1_8b-reward", "internlm/internlm2-7b-reward")
