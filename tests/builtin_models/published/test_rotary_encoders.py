"""Published checkpoints of encoders with rotary or relative positions: ModernBERT, Nomic, GTE, DeBERTa, EuroBERT."""

import pytest

from millpond_models.testing.encoders import gte_shapes, nomic_shapes
from millpond_models.testing.published import Published

BERT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2}
MINI = {**BERT, "vocab_size": 30522, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
BASE = {**MINI, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
DECODER = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768}
MODERN = {
    "vocab_size": 50368, "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22,
    "num_attention_heads": 12, "max_position_embeddings": 8192, "norm_bias": False, "attention_bias": False,
    "mlp_bias": False, "classifier_bias": False, "decoder_bias": True, "local_attention": 128,
    "global_attn_every_n_layers": 3, "classifier_pooling": "mean", "classifier_activation": "gelu",
    "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "norm_eps": 1e-5, "hidden_activation": "gelu",
}  # fmt: skip
NOMIC = {
    "vocab_size": 30528, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": 3072, "n_positions": 8192,
    "max_trained_positions": 2048, "type_vocab_size": 2, "activation_function": "swiglu", "qkv_proj_bias": False,
    "mlp_fc1_bias": False, "mlp_fc2_bias": False, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
    "layer_norm_epsilon": 1e-12, "prenorm": False, "use_rms_norm": False,
}  # fmt: skip
NOMIC_MOE = {
    **NOMIC, "vocab_size": 250048, "type_vocab_size": 1, "activation_function": "gelu", "n_positions": 2048,
    "qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True, "moe_every_n_layers": 2, "num_experts": 8,
    "moe_top_k": 2, "rotary_emb_base": 10000,
}  # fmt: skip
GTE = {
    **BASE, "vocab_size": 250048, "max_position_embeddings": 8192, "type_vocab_size": 1, "pack_qkv": True,
    "position_embedding_type": "rope", "rope_theta": 20000, "rope_scaling": {"type": "ntk", "factor": 8.0},
}  # fmt: skip
DEBERTA = {
    "vocab_size": 128100, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 0, "relative_attention": True,
    "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False, "max_relative_positions": -1, "hidden_act": "gelu", "layer_norm_eps": 1e-7,
    "pooler_hidden_size": 768, "pooler_hidden_act": "gelu", "pooler_dropout": 0, "pad_token_id": 0,
}  # fmt: skip
POOLER = {"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)}
ONE_LABEL = {"num_labels": 1}
PUBLISHED = {
    "Alibaba-NLP/gte-modernbert-base": Published("ModernBertModel", MODERN, "ModernBertModel"),
    "answerdotai/ModernBERT-base": Published("ModernBertForMaskedLM", MODERN, "ModernBertForMaskedLM"),
    "disham993/electrical-ner-ModernBERT-base": Published(
        "ModernBertForTokenClassification", {**MODERN, "num_labels": 11}, "ModernBertForTokenClassification"
    ),
    "nomic-ai/nomic-embed-text-v1.5": Published("NomicBertModel", NOMIC, nomic_shapes),
    "nomic-ai/nomic-embed-text-v2-moe": Published("NomicBertModel", NOMIC_MOE, nomic_shapes),
    "Alibaba-NLP/gte-multilingual-base": Published(
        "NewModel",
        GTE,
        gte_shapes,
        prefix="new.",
        besides={
            **{f"new.{name}": shape for name, shape in POOLER.items()},
            "classifier.weight": (1, "size"),
            "classifier.bias": (1,),
        },
    ),
    "Alibaba-NLP/gte-multilingual-reranker-base": Published(
        "NewForSequenceClassification",
        {**GTE, **ONE_LABEL},
        gte_shapes,
        prefix="new.",
        besides={
            **{f"new.{name}": shape for name, shape in POOLER.items()},
            "classifier.weight": (1, "size"),
            "classifier.bias": (1,),
        },
    ),
    "Snowflake/snowflake-arctic-embed-m-v2.0": Published("GteModel", GTE, gte_shapes, besides=POOLER),
    "mixedbread-ai/mxbai-rerank-base-v1": Published(
        "DebertaV2ForSequenceClassification", {**DEBERTA, **ONE_LABEL}, "DebertaV2ForSequenceClassification"
    ),
    "microsoft/deberta-v3-base": Published(
        "DebertaV2Model",
        DEBERTA,
        "DebertaV2Model",
        prefix="deberta.",
        besides={
            "lm_predictions.lm_head.bias": (128100,),
            "mask_predictions.dense.weight": ("size", "size"),
            "deberta.embeddings.position_embeddings.weight": (512, "size"),
        },
    ),
    "EuroBERT/EuroBERT-210m": Published(
        "EuroBertForMaskedLM",
        {
            **DECODER,
            "vocab_size": 128256,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_key_value_heads": 12,
            "tie_word_embeddings": False,
        },
        "EuroBertForMaskedLM",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(check, name):
    check(name, PUBLISHED[name])
