"""The records of models that retrieve by weights or vectors of tokens. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec


def retrievers() -> Iterator[ArchitectureSpec]:
    """bge-m3."""
    yield ArchitectureSpec(
        name="BgeM3EmbeddingModel",
        target="millpond_models.bge_m3:BgeM3Model",
        summary="bge-m3: a vector of a text, weights and vectors of its tokens (Chen et al., 2024)",
        tasks=("embed", "token_embed", "token_classify"),
        pooling="CLS",
        positions="absolute_after_pad",
        num_labels=1,
        token_weights=True,
        extra_weights=("sparse_linear", "colbert_linear"),
        instead_of=("XLMRobertaModel",),
    )
