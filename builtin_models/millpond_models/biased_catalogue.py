"""The records of models whose attention caps scores or adds biases. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")
TOKEN_TASKS = ("token_classify",)


def biased() -> Iterator[ArchitectureSpec]:
    """Gemma 2."""
    yield ArchitectureSpec(
        name="Gemma2Model",
        target="millpond_models.gemma2:Gemma2Model",
        summary="Gemma 2 (Gemma Team, 2024), with capped scores and windows in every other layer",
        tasks=EMBEDDING_TASKS,
        pooling="LAST",
        positions="relative",
    )
