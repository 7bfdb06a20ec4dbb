"""Specs of CLIP and its published models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond_models.spec_helpers.architectures import EMBEDDING_TASKS
from millpond_models.spec_helpers.published import models

# Defaults of transformers: published files only contain keys that differ from them.
CLIP_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "projection_dim": 512,
        "text_config": {
            "vocab_size": 49408,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_channels": 3,
            "image_size": 224,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    }
)
ARCHITECTURES = (
    ArchitectureSpec(
        name="CLIPModel",
        target="millpond_models.vision.clip.model:CLIPModel",
        summary="CLIP: text or an image (Radford et al., 2021)",
        tasks=EMBEDDING_TASKS,
        modalities=("text", "image"),
        pooling=PoolingDefaults("LAST"),
        output=OutputShape(size_keys=("projection_dim",)),
        text=TextInput(positions="absolute"),
        checkpoint=CheckpointLayout(config_defaults=CLIP_DEFAULTS),
        extras=ModelExtras(tiny="millpond_models.testing.dual_encoders:tiny_dual_encoder"),
    ),
)
PUBLISHED = models("CLIPModel", "openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14")
