"""Specs of Ministral 3 and of its published models."""

from millpond.plugin.specs import CheckpointLayout, ModelExtras, PoolingDefaults
from millpond_models.spec_helpers.architectures import embedder
from millpond_models.spec_helpers.published import models

ARCHITECTURES = (
    embedder(
        "Ministral3Model",
        "millpond_models.decoders.ministral3.model:Ministral3Model",
        "Ministral 3 (Mistral AI, 2025), causal or, for embeddings, bidirectional",
        pooling=PoolingDefaults("LAST", config_key="pooling"),
        checkpoint=CheckpointLayout(config_defaults={"head_dim": 128, "num_key_value_heads": 8, "rms_norm_eps": 1e-5}),
        extras=ModelExtras(tiny="millpond_models.decoders.ministral3.tiny:tiny"),
    ),
)
PUBLISHED = models("Ministral3Model", "nvidia/Nemotron-3-Embed-1B-BF16", "nvidia/Nemotron-3-Embed-8B-BF16")
