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
