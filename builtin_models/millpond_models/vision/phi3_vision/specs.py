"""Specs of Phi-3-vision and its published models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.specs import ArchitectureSpec, CheckpointLayout, ModelExtras, PoolingDefaults, PublishedModelSpec
from millpond_models.spec_helpers.architectures import EMBEDDING_TASKS, TINY_BY_NAME
from millpond_models.spec_helpers.published import models

# config.json names Phi-3-vision's vision encoder, openai/clip-vit-large-patch14-336, but does not contain its sizes.
CLIP_LARGE_336: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_channels": 3,
        "image_size": 336,
        "patch_size": 14,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }
)
# VLM2Vec reads one message without turn markers; its parts are joined by spaces.
VLM2VEC_TEMPLATE = """
{%- if messages | length != 1 -%}
    {{- raise_exception('Embedding models should only embed one message at a time') -}}
{%- endif -%}
{%- set content = messages[0]['content'] -%}
{%- set state = namespace(images=0, parts=[content] if content is string else []) -%}
{%- for part in content if content is not string -%}
    {%- if part['type'] == 'text' -%}
        {%- set state.parts = state.parts + [part['text']] -%}
    {%- else -%}
        {%- set state.images = state.images + 1 -%}
        {%- set state.parts = state.parts + ['<|image_' ~ state.images ~ '|>'] -%}
    {%- endif -%}
{%- endfor -%}
{{- state.parts | join(' ') -}}
"""
ARCHITECTURES = (
    ArchitectureSpec(
        name="Phi3VForCausalLM",
        target="millpond_models.vision.phi3_vision.model:Phi3VForCausalLM",
        summary="Phi-3-vision and Phi-3.5-vision (Abdin et al., 2024), such as VLM2Vec",
        tasks=EMBEDDING_TASKS,
        modalities=("text", "image"),
        pooling=PoolingDefaults("LAST"),
        checkpoint=CheckpointLayout(config_defaults={"vision_config": dict(CLIP_LARGE_336)}),
        extras=ModelExtras(image_processor="millpond_models.vision.phi3_vision.images:Phi3Images", tiny=TINY_BY_NAME),
    ),
)
PUBLISHED = (
    PublishedModelSpec(name="TIGER-Lab/VLM2Vec-Full", architecture="Phi3VForCausalLM", chat_template=VLM2VEC_TEMPLATE),
    *models("Phi3VForCausalLM", "microsoft/Phi-3.5-vision-instruct"),
)
