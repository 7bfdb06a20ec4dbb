"""The records of converters. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.plugin.specs import ConverterSpec
from millpond_models.records import CLASSIFYING_TASKS, EMBEDDING_TASKS, TOKEN_TASKS

SPLADE_POOLING = ("SPLADE_MAX", "SPLADE_SUM", "SPLADE_MAX_LOG", "SPLADE_SUM_LOG")
GENERATING = ("*ForCausalLM", "*ForConditionalGeneration", "*ChatModel", "*LMHeadModel")


def converters() -> Iterator[ConverterSpec]:
    """Ways to a pooling model, by what an architecture's name says of its head."""
    yield ConverterSpec(
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
    )
    yield ConverterSpec(
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
    )
    yield ConverterSpec(
        name="process_reward",
        target="millpond_models.conversion.convert:as_process_reward",
        summary="the probabilities of some tokens at the end of each step",
        architectures=("*ForCausalLM",),
        tasks=TOKEN_TASKS,
        pooling=("STEP",),
    )
    yield ConverterSpec(
        name="masked_lm",
        target="millpond_models.retrieval.splade:as_masked_lm",
        summary="vectors, and the probabilities of all tokens of the vocabulary at the place of each token",
        architectures=("BertForMasked*",),  # shorter than the name, so that another plugin may name it
        tasks=(*EMBEDDING_TASKS, *TOKEN_TASKS),
        pooling=("", "ALL"),
    )
    yield ConverterSpec(
        name="splade",
        target="millpond_models.retrieval.splade:as_splade",
        summary="a weight for each token of the vocabulary, by the head that fills in masked tokens",
        architectures=("*ForMaskedLM",),
        tasks=EMBEDDING_TASKS,
        pooling=SPLADE_POOLING,
    )
