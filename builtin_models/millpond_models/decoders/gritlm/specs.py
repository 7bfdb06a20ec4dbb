"""Specs of GritLM and its published models."""

from millpond.plugin.specs import ModelExtras
from millpond_models.spec_helpers.architectures import TINY_BY_NAME, embedder
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "GritLM",
        "millpond_models.decoders.gritlm.model:GritLM",
        "GritLM (Muennighoff et al., 2024): bidirectional Mistral, pooled without the instruction",
        pooling="MEAN",
        extras=ModelExtras(tiny=TINY_BY_NAME),
    ),
)
PUBLISHED = models("GritLM", "parasail-ai/GritLM-7B-vllm")
