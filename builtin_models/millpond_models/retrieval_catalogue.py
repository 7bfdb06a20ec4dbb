"""The records of models that retrieve by weights or vectors of tokens. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.plugin.specs import ArchitectureSpec, PublishedModel
from millpond_models.records import LFM2, embedder

PROJECTED = "millpond.loading.late_interaction:read_projected"


def retrievers() -> Iterator[ArchitectureSpec]:
    """SPLADE by the name that other servers know it by, bge-m3, and ColBERT on several encoders."""
    yield embedder(
        "BertSpladeSparseEmbeddingModel",
        "retrieval.splade:BertSplade",
        "SPLADE: a weight for each token of the vocabulary (Formal et al., 2021)",
        pooling="SPLADE_MAX",
        positions="absolute",
    )
    yield ArchitectureSpec(
        name="BgeM3EmbeddingModel",
        target="millpond_models.retrieval.bge_m3:BgeM3Model",
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
        name="HF_ColBERT",
        target="millpond_models.retrieval.colbert:ColBert",
        summary="ColBERT: a vector of few dimensions for each token (Khattab and Zaharia, 2020)",
        tasks=("token_embed",),
        positions="absolute",
        late_interaction="millpond.loading.late_interaction:read_stanford",
    )
    yield ArchitectureSpec(
        name="ColBERTModernBertModel",
        target="millpond_models.retrieval.colbert:ColBertModernBert",
        summary="ModernBERT with a vector of few dimensions for each token",
        tasks=("token_embed",),
        late_interaction=PROJECTED,
    )
    yield ArchitectureSpec(
        name="ColBERTJinaRobertaModel",
        target="millpond_models.retrieval.colbert:ColBertJinaRoberta",
        summary="Jina's XLM-RoBERTa with a vector of few dimensions for each token (Jha et al., 2024)",
        tasks=("token_embed",),
        positions="absolute_after_pad",
        late_interaction=PROJECTED,
        published=(
            PublishedModel(
                name="jinaai/jina-colbert-v2",
                config={"architectures": ["ColBERTJinaRobertaModel"]},
                named="HF_ColBERT",
            ),
        ),
    )
    yield ArchitectureSpec(
        name="ColBERTLfm2Model",
        target="millpond_models.retrieval.colbert:ColBertLfm2",
        summary="LFM2 with a vector of few dimensions for each token, causal unless config.json names the encoder",
        tasks=("token_embed",),
        late_interaction=PROJECTED,
        defaults=LFM2,
    )
