"""The record of NVIDIA's model of texts with images. Without torch: ``plugin.py`` yields it."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from millpond.plugin.specs import ArchitectureSpec, PublishedModel
from millpond_models.tower_catalogue import SIGLIP_VISION

# https://huggingface.co/nvidia/llama-nemotron-embed-vl-1b-v2: what its messages look like as the model was trained. Its
# tokenizer has the template of the language model that it was made of.
MESSAGES = (
    "{% if messages | length != 1 %}"
    "{{ raise_exception('this model embeds one message at a time; got ' ~ messages | length) }}"
    "{% endif %}{% set message = messages[0] %}{{ bos_token or '' }}"
    "{% if message['role'] == 'query' %}query: {% elif message['role'] == 'document' %}passage: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] != 'text' %}<image> {% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
)
PROMPTS: Mapping[str, str] = MappingProxyType({"query": "query: ", "document": "passage: "})
LONGEST = 10240  # tokens that it was trained for
# What transformers takes where config.json does not say, and what the code of the model does.
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


def nemotron_vl() -> Iterator[ArchitectureSpec]:
    """Llama that reads images; and by a converter the reranker made of it."""
    yield ArchitectureSpec(
        name="LlamaNemotronVLModel",
        target="millpond_models.vision.nemotron_vl.model:LlamaNemotronVLModel",
        summary="Llama in both directions that reads images too, by SigLIP's tower (Li et al., 2025)",
        tasks=("embed", "token_embed"),
        modalities=("text", "image"),
        pooling="MEAN",
        pooling_key="pooling",
        defaults=NEMOTRON_DEFAULTS,
        size_keys=("llm_config.hidden_size",),
        image_reader="millpond_models.vision.nemotron_vl.images:TiledImages",
        published=(
            PublishedModel(
                name="nvidia/llama-nemotron-embed-vl-1b-v2",
                config={"task_instructions": dict(PROMPTS), "model_max_length": LONGEST},
                chat_template=MESSAGES,
            ),
            PublishedModel(
                name="nvidia/llama-nemotron-rerank-vl-1b-v2",
                config={"model_max_length": LONGEST},
                named="LlamaNemotronVLForSequenceClassification",
            ),
        ),
    )
