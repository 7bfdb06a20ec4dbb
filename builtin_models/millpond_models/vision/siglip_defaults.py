"""Defaults of transformers for keys missing from the config.json of SigLIP encoders. Imports no torch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SIGLIP_ENCODER: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    }
)
SIGLIP_TEXT: Mapping[str, Any] = MappingProxyType(
    {**SIGLIP_ENCODER, "vocab_size": 32000, "max_position_embeddings": 64, "pad_token_id": 1}
)
SIGLIP_VISION: Mapping[str, Any] = MappingProxyType(
    {**SIGLIP_ENCODER, "num_channels": 3, "patch_size": 16, "vision_use_head": True}
)
