"""Specs of Gemma, Gemma 2, Gemma 3 and their published models."""

from typing import Final

from millpond.plugin.specs import PublishedModelSpec, RerankTemplate
from millpond_models.spec_helpers.architectures import embedder
from millpond_models.spec_helpers.published import matryoshka, models

# https://huggingface.co/BAAI/bge-reranker-v2-gemma
BGE_RERANKER_GEMMA: Final = RerankTemplate(
    pieces=("<bos>", "A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
    instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'.",
    recognized_by={"model_type": "gemma", "classifier_from_token": ["Yes"]},
)
ARCHITECTURES = (
    embedder(
        "GemmaModel",
        "millpond_models.decoders.gemma.gemma:GemmaModel",
        "Gemma, first version (Gemma Team, 2024)",
        pooling="LAST",
    ),
    embedder(
        "Gemma2Model",
        "millpond_models.decoders.gemma.gemma2:Gemma2Model",
        "Gemma 2 (Gemma Team, 2024), with soft-capped scores and alternating sliding windows",
        pooling="LAST",
    ),
    embedder(
        "Gemma3TextModel",
        "millpond_models.decoders.gemma.gemma3:Gemma3TextModel",
        "the text model of Gemma 3 (Gemma Team, 2025), and EmbeddingGemma",
        pooling="MEAN",
    ),
)
PUBLISHED = (
    PublishedModelSpec(
        name="BAAI/bge-reranker-v2-gemma*",
        architecture="GemmaModel",
        checkpoint_architecture="GemmaForCausalLM",
        config={
            "architectures": ["GemmaForSequenceClassification"],
            "classifier_from_token": ["Yes"],
            "method": "no_post_processing",
        },
        rerank_template=BGE_RERANKER_GEMMA,
        markers=("determine whether the passage contains an answer to the query",),
    ),
    *models("Gemma2Model", "BAAI/bge-multilingual-gemma2"),
    matryoshka("Gemma3TextModel", "google/embeddinggemma*", 768, 512, 256, 128),
)
