"""The records of models that retrieve by weights or vectors of tokens. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec, PublishedModel


def retrievers() -> Iterator[ArchitectureSpec]:
    """bge-m3, and ColBERT on other encoders than BERT."""
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
    yield ArchitectureSpec(
        name="ColBERTModernBertModel",
        target="millpond_models.colbert:ColBertModernBert",
        summary="ModernBERT with a vector of few dimensions for each token",
        tasks=("token_embed",),
        positions="relative",
    )
    yield ArchitectureSpec(
        name="ColBERTJinaRobertaModel",
        target="millpond_models.colbert:ColBertJinaRoberta",
        summary="Jina's XLM-RoBERTa with a vector of few dimensions for each token (Jha et al., 2024)",
        tasks=("token_embed",),
        positions="absolute_after_pad",
        published=(
            PublishedModel(
                name="jinaai/jina-colbert-v2",
                config={"architectures": ["ColBERTJinaRobertaModel"]},
                named="HF_ColBERT",
            ),
        ),
    )
