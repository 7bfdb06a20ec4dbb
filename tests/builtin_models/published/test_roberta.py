"""Published checkpoints of RoBERTa and XLM-RoBERTa, including Jina's with rotary embeddings."""

import pytest

from millpond_models.testing.encoders import JINA, jina_shapes
from millpond_models.testing.published import Published, written_by

BERT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2}
MINI = {**BERT, "vocab_size": 30522, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
BASE = {**MINI, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
XLMR = {**BASE, "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
XLMR_LARGE = {
    **XLMR,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
}
ONE_LABEL = {"num_labels": 1}


def bge_m3_shapes(config):
    """Return the names of XLM-RoBERTa and of the two heads in separate files."""
    size = config["hidden_size"]
    heads = {"colbert_linear.weight": (size, size), "colbert_linear.bias": (size,)}
    heads |= {"sparse_linear.weight": (1, size), "sparse_linear.bias": (1,)}
    return {**written_by("XLMRobertaModel", config), **heads}


def flash_classifier_shapes(config):
    """Return Jina's names with position embeddings and without the pooler."""
    shapes = {name: shape for name, shape in jina_shapes(config).items() if not name.startswith("pooler.")}
    return {
        **shapes,
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], config["hidden_size"]),
    }


TASKS = {**JINA, "lora_rank": 4, "lora_alpha": 1}
FLASH = {**XLMR_LARGE, **TASKS, "max_position_embeddings": 8194}
POSITIONS = {"embeddings.position_ids": (1, 512)}
PUBLISHED = {
    "sentence-transformers/all-roberta-large-v1": Published(
        "RobertaForMaskedLM", {**XLMR_LARGE, "vocab_size": 50265}, "RobertaModel", besides=POSITIONS
    ),
    "cross-encoder/quora-roberta-base": Published(
        "RobertaForSequenceClassification",
        {**XLMR, **ONE_LABEL, "vocab_size": 50265},
        "RobertaForSequenceClassification",
        besides={"roberta.embeddings.position_ids": (1, 514)},
    ),
    "intfloat/multilingual-e5-base": Published("XLMRobertaModel", XLMR, "XLMRobertaModel", besides=POSITIONS),
    "BAAI/bge-m3": Published(
        "XLMRobertaModel",
        {**XLMR_LARGE, "max_position_embeddings": 8194},
        bge_m3_shapes,
        options={"hf_overrides": {"architectures": ["BgeM3EmbeddingModel"]}},
    ),
    "BAAI/bge-reranker-v2-m3": Published(
        "XLMRobertaForSequenceClassification",
        {**XLMR_LARGE, **ONE_LABEL, "max_position_embeddings": 8194},
        "XLMRobertaForSequenceClassification",
    ),
    "Snowflake/snowflake-arctic-embed-l-v2.0": Published(
        "XLMRobertaModel", {**XLMR_LARGE, "max_position_embeddings": 8194}, "XLMRobertaModel"
    ),
    "jinaai/jina-embeddings-v3": Published("XLMRobertaModel", FLASH, jina_shapes, prefix="roberta."),
    "jinaai/jina-colbert-v2": Published(
        "HF_ColBERT",
        {**FLASH, "lora_adaptations": None, "dim": 128, "type_vocab_size": 1},
        jina_shapes,
        prefix="roberta.",
        besides={"linear.weight": (128, "size")},
    ),
    "jinaai/jina-reranker-v2-base-multilingual": Published(
        "XLMRobertaForSequenceClassification",
        {**XLMR, **ONE_LABEL, "position_embedding_type": "absolute", "max_position_embeddings": 1026},
        flash_classifier_shapes,
        prefix="roberta.",
        besides={
            "classifier.dense.weight": ("size", "size"),
            "classifier.dense.bias": ("size",),
            "classifier.out_proj.weight": (1, "size"),
            "classifier.out_proj.bias": (1,),
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
