"""The records of converters: ways to a pooling model, by what an architecture's name says of its head."""

from typing import Final

from millpond.plugin.specs import ConverterSpec
from millpond_models.records.architectures import CLASSIFYING_TASKS, EMBEDDING_TASKS, TOKEN_TASKS

SPLADE_POOLING: Final = ("SPLADE_MAX", "SPLADE_SUM", "SPLADE_MAX_LOG", "SPLADE_SUM_LOG")
GENERATING: Final = ("*ForCausalLM", "*ForConditionalGeneration", "*ChatModel", "*LMHeadModel")
CONVERTERS = (
    ConverterSpec(
        name="embed",
        target="millpond_models.conversion.convert:as_embedding",
        summary="vectors: leaves out the head",
        architectures=(
            "*ForTextEncoding",
            "*EmbeddingModel",
            "*ForRewardModeling",
            "*RewardModel",
            "*Model",
            "*ForMaskedLM",
            *GENERATING,
        ),
        tasks=EMBEDDING_TASKS,
    ),
    ConverterSpec(
        name="classify",
        target="millpond_models.conversion.convert:as_classifier",
        summary="classes or a score: a linear map named score, or made of rows of the vocabulary's",
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
        summary="the probabilities of some tokens at the end of each step",
        architectures=("*ForCausalLM",),
        tasks=TOKEN_TASKS,
        pooling=("STEP",),
    ),
    ConverterSpec(
        name="masked_lm",
        target="millpond_models.retrieval.splade:as_masked_lm",
        summary="vectors, and the probabilities of all tokens of the vocabulary at the place of each token",
        architectures=("BertForMasked*",),  # shorter than the name, so that another plugin may name it
        tasks=(*EMBEDDING_TASKS, *TOKEN_TASKS),
        pooling=("", "ALL"),
    ),
    ConverterSpec(
        name="splade",
        target="millpond_models.retrieval.splade:as_splade",
        summary="a weight for each token of the vocabulary, by the head that fills in masked tokens",
        architectures=("*ForMaskedLM",),
        tasks=EMBEDDING_TASKS,
        pooling=SPLADE_POOLING,
    ),
)
