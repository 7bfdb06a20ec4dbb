"""Specs of the converters, which are selected by the name of an architecture."""

from typing import Final

from millpond.plugin.specs import ConverterSpec
from millpond_models.spec_helpers.architectures import CLASSIFYING_TASKS, EMBEDDING_TASKS, TOKEN_TASKS

SPLADE_POOLING: Final = ("SPLADE_MAX", "SPLADE_SUM", "SPLADE_MAX_LOG", "SPLADE_SUM_LOG")
GENERATIVE: Final = ("*ForCausalLM", "*ForConditionalGeneration", "*ChatModel", "*LMHeadModel")
CONVERTERS = (
    ConverterSpec(
        name="embed",
        target="millpond_models.conversion.convert:as_embedding",
        summary="embeddings: removes the head",
        architectures=(
            "*ForTextEncoding",
            "*EmbeddingModel",
            "*ForRewardModeling",
            "*RewardModel",
            "*Model",
            "*ForMaskedLM",
            *GENERATIVE,
        ),
        tasks=EMBEDDING_TASKS,
    ),
    ConverterSpec(
        name="classify",
        target="millpond_models.conversion.convert:as_classifier",
        summary="classes or a score: a linear layer named score, or rows of the LM head",
        architectures=(
            "*ForSequenceClassification",
            "*ForTokenClassification",
            "*ForAudioClassification",
            "*ForImageClassification",
            "*ForVideoClassification",
            "*ClassificationModel",
        ),
        tasks=CLASSIFYING_TASKS,
    ),
    ConverterSpec(
        name="process_reward",
        target="millpond_models.conversion.convert:as_process_reward",
        summary="probabilities of some tokens at the end of each step",
        architectures=("*ForCausalLM",),
        tasks=TOKEN_TASKS,
        pooling=("STEP",),
    ),
    ConverterSpec(
        name="masked_lm",
        target="millpond_models.retrieval.splade:as_masked_lm",
        summary="embeddings, and the probabilities of all tokens of the vocabulary for each token",
        architectures=("BertForMasked*",),  # a pattern, so that a plugin with the full name takes precedence
        tasks=(*EMBEDDING_TASKS, *TOKEN_TASKS),
        pooling=("", "ALL"),
    ),
    ConverterSpec(
        name="splade",
        target="millpond_models.retrieval.splade:as_splade",
        summary="a weight for each token of the vocabulary, from the masked language modelling head",
        architectures=("*ForMaskedLM",),
        tasks=EMBEDDING_TASKS,
        pooling=SPLADE_POOLING,
    ),
)
