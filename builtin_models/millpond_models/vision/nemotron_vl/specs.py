"""Specs of Llama Nemotron VL and its published models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    PublishedModelSpec,
    RerankTemplate,
)
from millpond_models.spec_helpers.architectures import EMBEDDING_TASKS, TINY_BY_NAME
from millpond_models.vision.siglip_defaults import SIGLIP_VISION

# The format of messages in training, from https://huggingface.co/nvidia/llama-nemotron-embed-vl-1b-v2. The template in
# its tokenizer is that of the base language model.
CHAT_TEMPLATE = (
    "{% if messages | length != 1 %}"
    "{{ raise_exception('this model embeds one message at a time; got ' ~ messages | length) }}"
    "{% endif %}{% set message = messages[0] %}{{ bos_token or '' }}"
    "{% if message['role'] == 'query' %}query: {% elif message['role'] == 'document' %}passage: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] != 'text' %}<image> {% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
)
PROMPTS: Mapping[str, str] = MappingProxyType({"query": "query: ", "document": "passage: "})
TRAINED_MAX_TOKENS = 10240
# Defaults of transformers and of the model's own code for keys missing from config.json.
NEMOTRON_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "img_context_token_id": 128258,
        "vision_config": {**SIGLIP_VISION, "image_size": 224},
        "llm_config": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
        },
    }
)
# https://huggingface.co/nvidia/llama-nemotron-rerank-vl-1b-v2
RERANK = RerankTemplate(pieces=("<|begin_of_text|>", "question:{query} \n \n passage:{document}"))
ARCHITECTURES = (
    ArchitectureSpec(
        name="LlamaNemotronVLModel",
        target="millpond_models.vision.nemotron_vl.model:LlamaNemotronVLModel",
        summary="bidirectional Llama with SigLIP's vision encoder, for text and images (Li et al., 2025)",
        tasks=EMBEDDING_TASKS,
        modalities=("text", "image"),
        pooling=PoolingDefaults("MEAN", config_key="pooling"),
        output=OutputShape(size_keys=("llm_config.hidden_size",)),
        checkpoint=CheckpointLayout(config_defaults=NEMOTRON_DEFAULTS),
        extras=ModelExtras(image_processor="millpond_models.vision.nemotron_vl.images:TiledImages", tiny=TINY_BY_NAME),
    ),
)
PUBLISHED = (
    PublishedModelSpec(
        name="nvidia/llama-nemotron-embed-vl-1b-v2",
        architecture="LlamaNemotronVLModel",
        config={"model_max_length": TRAINED_MAX_TOKENS},
        chat_template=CHAT_TEMPLATE,
        prompts=PROMPTS,
    ),
    PublishedModelSpec(
        name="nvidia/llama-nemotron-rerank-vl-*",
        architecture="LlamaNemotronVLModel",
        checkpoint_architecture="LlamaNemotronVLForSequenceClassification",
        config={"model_max_length": TRAINED_MAX_TOKENS},
        rerank_template=RERANK,
    ),
)
