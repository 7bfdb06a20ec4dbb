"""The records of decoders that were made for embedding, and of GPT-2. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")


def embedding_decoders() -> Iterator[ArchitectureSpec]:
    """Decoders that pool in ways of their own."""
    yield ArchitectureSpec(
        name="Gemma3TextModel",
        target="millpond_models.gemma3:Gemma3TextModel",
        summary="the text part of Gemma 3 (Gemma Team, 2025), and EmbeddingGemma",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
    )
    yield ArchitectureSpec(
        name="LlamaBidirectionalModel",
        target="millpond_models.bidirectional:LlamaBidirectionalModel",
        summary="Llama that attends in both directions, for embeddings and, by a converter, classes",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
        pooling_key="pooling",
    )
    yield ArchitectureSpec(
        name="VoyageQwen3BidirectionalEmbedModel",
        target="millpond_models.bidirectional:VoyageQwen3BidirectionalEmbedModel",
        summary="Qwen3 that attends in both directions, with a linear map of each token",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
        sized_by_labels=True,
    )
    yield ArchitectureSpec(
        name="GPT2Model",
        target="millpond_models.gpt2:GPT2Model",
        summary="GPT-2 (Radford et al., 2019)",
        tasks=EMBEDDING_TASKS,
        pooling="LAST",
        positions="absolute",
    )
    yield ArchitectureSpec(
        name="GritLM",
        target="millpond_models.gritlm:GritLM",
        summary="GritLM (Muennighoff et al., 2024): Mistral in both directions, pooled without the instruction",
        tasks=EMBEDDING_TASKS,
        pooling="MEAN",
    )
