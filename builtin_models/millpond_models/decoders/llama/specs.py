"""Specs of Llama, causal and bidirectional, and of its published models."""

from typing import Final

from millpond.plugin.specs import PoolingDefaults, PublishedModelSpec, RerankTemplate
from millpond_models.spec_helpers.architectures import embedder
from millpond_models.spec_helpers.published import models

# https://huggingface.co/nvidia/llama-nemotron-rerank-1b-v2
NEMOTRON_RERANK: Final = RerankTemplate(
    pieces=("<|begin_of_text|>", "question:{query} \n \n passage:{document}"),
)
ARCHITECTURES = (
    embedder(
        "LlamaModel",
        "millpond_models.decoders.llama.model:LlamaModel",
        "Llama (Touvron et al., 2023) and decoders with its architecture",
        pooling="LAST",
    ),
    embedder(
        "LlamaBidirectionalModel",
        "millpond_models.decoders.llama.bidirectional:LlamaBidirectionalModel",
        "bidirectional Llama, for embeddings and, with a converter, classification",
        pooling=PoolingDefaults("MEAN", config_key="pooling"),
    ),
)
PUBLISHED = (
    *models(
        "LlamaModel", "Skywork/Skywork-Reward-V2-Llama-3.2-1B", checkpoint_architecture="LlamaForSequenceClassification"
    ),
    *models("LlamaBidirectionalModel", "nvidia/llama-nemotron-embed-1b-v2"),
    PublishedModelSpec(
        name="nvidia/llama-nemotron-rerank-*",
        architecture="LlamaBidirectionalModel",
        checkpoint_architecture="LlamaBidirectionalForSequenceClassification",
        rerank_template=NEMOTRON_RERANK,
    ),
)
