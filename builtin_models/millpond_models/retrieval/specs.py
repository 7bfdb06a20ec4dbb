"""Specs of SPLADE, bge-m3, ColBERT and static embeddings, and of their published models."""

from typing import Final

from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    PublishedModelSpec,
    TextInput,
)
from millpond_models.decoders.lfm2.specs import LFM2
from millpond_models.spec_helpers.architectures import TINY_BY_NAME, embedder
from millpond_models.spec_helpers.published import matryoshka, models

PROJECTED: Final = ModelExtras(late_interaction="millpond_models.retrieval.colbert_config:read_projected")
STANFORD: Final = ModelExtras(late_interaction="millpond_models.retrieval.colbert_config:read_marked")
STATIC_SIZES: Final = (1024, 512, 256, 128, 64, 32)
ARCHITECTURES = (
    embedder(
        "BertSpladeSparseEmbeddingModel",
        "millpond_models.retrieval.splade:BertSplade",
        "SPLADE: a weight for each token of the vocabulary (Formal et al., 2021)",
        pooling="SPLADE_MAX",
        text=TextInput(positions="absolute"),
        extras=ModelExtras(),
    ),
    ArchitectureSpec(
        name="BgeM3EmbeddingModel",
        target="millpond_models.retrieval.bge_m3:BgeM3Model",
        summary="bge-m3: dense, sparse and multi-vector embeddings (Chen et al., 2024)",
        tasks=("embed", "token_embed", "token_classify"),
        pooling=PoolingDefaults("CLS"),
        output=OutputShape(num_labels=1, token_weights=True),
        text=TextInput(positions="absolute_after_pad"),
        checkpoint=CheckpointLayout(extra_files=("sparse_linear", "colbert_linear"), supersedes=("XLMRobertaModel",)),
        extras=ModelExtras(tiny=TINY_BY_NAME),
    ),
    ArchitectureSpec(
        name="HF_ColBERT",
        target="millpond_models.retrieval.colbert:ColBert",
        summary="ColBERT: a low-dimensional vector for each token (Khattab and Zaharia, 2020)",
        tasks=("token_embed",),
        text=TextInput(positions="absolute"),
        extras=STANFORD,
    ),
    ArchitectureSpec(
        name="ColBERTModernBertModel",
        target="millpond_models.retrieval.colbert:ColBertModernBert",
        summary="ModernBERT with a low-dimensional vector for each token",
        tasks=("token_embed",),
        extras=PROJECTED,
    ),
    ArchitectureSpec(
        name="ColBERTJinaRobertaModel",
        target="millpond_models.retrieval.colbert:ColBertJinaRoberta",
        summary="jina-colbert-v2: XLM-RoBERTa with a low-dimensional vector for each token (Jha et al., 2024)",
        tasks=("token_embed",),
        text=TextInput(positions="absolute_after_pad"),
        extras=PROJECTED,
    ),
    ArchitectureSpec(
        name="ColBERTLfm2Model",
        target="millpond_models.retrieval.colbert:ColBertLfm2",
        summary="LFM2 with a low-dimensional vector for each token; causal unless config.json names the encoder",
        tasks=("token_embed",),
        checkpoint=LFM2,
        extras=PROJECTED,
    ),
    embedder(
        "StaticEmbedding",
        "millpond_models.retrieval.static:StaticEmbedding",
        "static token embeddings of sentence-transformers and model2vec",
        pooling="MEAN",
        extras=ModelExtras(),
    ),
)
PUBLISHED = (
    PublishedModelSpec(
        name="naver/splade-v3",
        architecture="BertSpladeSparseEmbeddingModel",
        checkpoint_architecture="BertForMaskedLM",
        config={"architectures": ["BertSpladeSparseEmbeddingModel"]},
    ),
    *models("HF_ColBERT", "answerdotai/answerai-colbert-small-v1", "colbert-ir/colbertv2.0"),
    PublishedModelSpec(
        name="jinaai/jina-colbert-v2",
        architecture="ColBERTJinaRobertaModel",
        checkpoint_architecture="HF_ColBERT",
        config={"architectures": ["ColBERTJinaRobertaModel"]},
    ),
    matryoshka("StaticEmbedding", "sentence-transformers/static-retrieval-mrl-en-v1", *STATIC_SIZES),
    matryoshka("StaticEmbedding", "sentence-transformers/static-similarity-mrl-multilingual-v1", *STATIC_SIZES),
    *models("StaticEmbedding", "minishlab/potion-base-8M", checkpoint_architecture="StaticModel"),
)
