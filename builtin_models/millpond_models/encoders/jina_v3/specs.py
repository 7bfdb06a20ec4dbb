"""Specs of jina-embeddings-v3 under its name in transformers; published files name ``XLMRobertaModel``."""

from collections.abc import Mapping
from typing import Final

from millpond.plugin.specs import ArchitectureSpec, CheckpointLayout, TextInput
from millpond_models.spec_helpers.architectures import embedder, text_classifier, token_classifier
from millpond_models.spec_helpers.published import matryoshka

# Values implied by the config.json of transformers' JinaEmbeddingsV3, with the keys of the published one.
CONFIG_DEFAULTS: Final[Mapping[str, object]] = {
    "position_embedding_type": "rotary",
    "rotary_emb_base": 20_000.0,
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 1,
}
# Folders of adapters whose name differs from that in the published files.
ADAPTER_FOLDERS: Final[Mapping[str, str]] = {
    "retrieval_query": "retrieval.query",
    "retrieval_passage": "retrieval.passage",
    "text_matching": "text-matching",
}
HEADS: Final = "millpond_models.encoders.jina_v3.heads:JinaXLMRoberta"
TEXTS: Final = "ForSequenceClassification"
TOKENS: Final = "ForTokenClassification"
LAYOUT: Final = CheckpointLayout(config_defaults=CONFIG_DEFAULTS)
ARCHITECTURES: tuple[ArchitectureSpec, ...] = (
    embedder(
        "JinaEmbeddingsV3Model",
        "millpond_models.encoders.jina_v3.model:JinaXLMRobertaModel",
        "jina-embeddings-v3 (Sturua et al., 2024): XLM-RoBERTa with rotary embeddings and adapters",
        pooling="MEAN",
        text=TextInput(positions="relative"),
        checkpoint=CheckpointLayout(
            config_defaults=CONFIG_DEFAULTS, adapters_key="lora_adaptations", adapter_folders=ADAPTER_FOLDERS
        ),
    ),
    text_classifier(f"JinaEmbeddingsV3{TEXTS}", f"{HEADS}{TEXTS}", checkpoint=LAYOUT),
    token_classifier(f"JinaEmbeddingsV3{TOKENS}", f"{HEADS}{TOKENS}", checkpoint=LAYOUT),
)
PUBLISHED = (matryoshka("JinaEmbeddingsV3Model", "jinaai/jina-embeddings-v3-hf*", 32, 64, 128, 256, 512, 768, 1024),)
