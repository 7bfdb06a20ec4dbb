"""The tensors of published checkpoints, by name and shape: each finds its parameter, and each parameter its tensor.

Nothing is downloaded, and nothing has memory: shapes are those of the published config.json, names those of the class
in transformers that wrote the files, or of the code in their repository, with what old files hold besides.
"""

import re
from dataclasses import dataclass, field, replace

import pytest
import torch

from millpond.config import PoolerConfig
from millpond.context import Context
from millpond.loading.resolve import LoadOptions, resolve
from millpond.loading.source import SourceOptions, find_repository
from millpond.loading.tokenizer import load_tokenizer
from millpond.plugins import PluginManager
from millpond.testing.biased import JINA_BERT, JINA_BERT_WITH_NORMS, biased_shapes, jina_bert_shapes
from millpond.testing.checkpoints import write_config
from millpond.testing.encoders import JINA, gte_shapes, jina_shapes, nomic_shapes
from millpond.testing.gritlm import tiny_gritlm
from millpond.testing.nemotron_vl import nemotron_vl_shapes
from millpond.testing.phi3_vision import IMG_PROCESSOR, phi3_vision_shapes
from millpond.testing.phi3_vision import PUBLISHED as PHI3_VISION

REGISTRY = PluginManager(ranks=("builtin",), disabled=()).registry
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
DECODER = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768}
QWEN3 = {
    **DECODER, "vocab_size": 151669, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip
QWEN2 = {
    **DECODER, "vocab_size": 151646, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_1B = {
    **DECODER, "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
NEMOTRON_VL = {
    "vocab_size": 128266, "force_image_size": 512, "img_context_token_id": 128258, "select_layer": -1, "pooling": "avg",
    "llm_config": {**LLAMA_1B, "vocab_size": 128266, "architectures": ["LlamaBidirectionalModel"]},
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 512, "patch_size": 16,
    },
}  # fmt: skip
MISTRAL = {
    **DECODER, "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "sliding_window": 4096, "tie_word_embeddings": False,
}  # fmt: skip
GEMMA = {"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, **DECODER}
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
INTERNLM = {**DECODER, "vocab_size": 92544, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}
INTERNLM |= {"num_attention_heads": 16, "num_key_value_heads": 8, "bias": False, "tie_word_embeddings": False}
PHI3_VISION = {
    **PHI3_VISION, "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096, "sliding_window": 262144, "tie_word_embeddings": False,
    "rope_scaling": {"type": "su", "short_factor": [1.08] * 48, "long_factor": [1.09] * 48},
    "img_processor": {**IMG_PROCESSOR, "image_dim_out": 1024},
}  # fmt: skip
POOLER = {"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)}
ONE_LABEL = {"num_labels": 1}


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        architecture: What its config.json names.
        config: What else it says.
        written_by: The class of transformers that wrote it, or what gives its tensors: (config) -> name to shape.
        prefix: What stands before the names that ``written_by`` gives.
        renamed: Patterns of names and what stands in their place.
        besides: Tensors that it holds besides; "size" is the hidden size.
        without: A pattern of what it does not hold, such as a head that is tied.
        options: What it is loaded with.
    """

    architecture: str
    config: dict
    written_by: object
    prefix: str = ""
    renamed: tuple = ()
    besides: dict = field(default_factory=dict)
    without: str = ""
    options: dict = field(default_factory=dict)


def two_maps(labels):
    """The head of Qwen's reward models."""
    first = {"score.0.weight": ("size", "size"), "score.0.bias": ("size",)}
    return {**first, "score.2.weight": (labels, "size"), "score.2.bias": (labels,)}


def internlm_shapes(config):
    """InternLM2's names: query, key and value in one map."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    heads = size // config["num_attention_heads"] * (config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    shapes = {"model.tok_embeddings.weight": (config["vocab_size"], size), "model.norm.weight": (size,)}
    for layer in range(config["num_hidden_layers"]):
        maps = {"attention.wqkv": (heads, size), "attention.wo": (size, size), "feed_forward.w1": (inner, size)}
        maps |= {"feed_forward.w2": (size, inner), "feed_forward.w3": (inner, size)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in maps.items()}
        shapes |= {f"model.layers.{layer}.{name}.weight": (size,) for name in ("attention_norm", "ffn_norm")}
    return shapes


def colbert_shapes(config):
    """Stanford's names: BERT's behind a prefix, and the projection beside it."""
    shapes = {f"bert.{name}": shape for name, shape in written_by("BertModel", config).items()}
    return {**shapes, "linear.weight": (config["dim"], config["hidden_size"])}


def jina_reranker_shapes(config):
    """Jina's BERT behind a prefix, its pooler, and a classifier of one class."""
    return biased_shapes("JinaBertForSequenceClassification", {**config, "id2label": {"0": "LABEL_0"}})


def phi3_vision_with_clip(config):
    """Phi-3-vision's names; of its tower, openai/clip-vit-large-patch14-336, config.json says the name alone."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 336}
    return phi3_vision_shapes({**config, "vision_config": {**sizes, "patch_size": 14}})


def bge_m3_shapes(config):
    """XLM-RoBERTa's, and those of the two heads that lie beside it."""
    size = config["hidden_size"]
    heads = {"colbert_linear.weight": (size, size), "colbert_linear.bias": (size,)}
    heads |= {"sparse_linear.weight": (1, size), "sparse_linear.bias": (1,)}
    return {**written_by("XLMRobertaModel", config), **heads}


def flash_classifier_shapes(config):
    """Jina's names with a table of positions, and without the pooler."""
    shapes = {name: shape for name, shape in jina_shapes(config).items() if not name.startswith("pooler.")}
    return {
        **shapes,
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], config["hidden_size"]),
    }


TASKS = {**JINA, "lora_rank": 4, "lora_alpha": 1}
FLASH = {**XLMR_LARGE, **TASKS, "max_position_embeddings": 8194}
POSITIONS = {"embeddings.position_ids": (1, 512)}
SPLADE = {
    "cls.predictions.bias": (30522,),
    "cls.predictions.transform.dense.weight": ("size", "size"),
    "cls.predictions.transform.dense.bias": ("size",),
    "cls.predictions.transform.LayerNorm.weight": ("size",),
    "cls.predictions.transform.LayerNorm.bias": ("size",),
    "cls.predictions.decoder.weight": (30522, "size"),
    "cls.predictions.decoder.bias": (30522,),
}
PUBLISHED = {
    "sentence-transformers/all-MiniLM-L6-v2": Published(
        "BertModel", {**MINI, "num_hidden_layers": 6}, "BertModel", besides=POSITIONS
    ),
    "BAAI/bge-base-en-v1.5": Published("BertModel", BASE, "BertModel", besides=POSITIONS),
    "intfloat/e5-small": Published("BertModel", {**MINI, "num_hidden_layers": 12}, "BertModel", besides=POSITIONS),
    "google-bert/bert-base-uncased": Published(
        "BertForMaskedLM",
        BASE,
        "BertModel",
        prefix="bert.",
        renamed=((r"LayerNorm\.weight", "LayerNorm.gamma"), (r"LayerNorm\.bias", "LayerNorm.beta")),
        besides={"cls.predictions.bias": (30522,), "cls.seq_relationship.weight": (2, "size")},
    ),
    "naver/splade-v3": Published(
        "BertForMaskedLM",
        BASE,
        "BertModel",
        prefix="bert.",
        besides=SPLADE,
        without=r".*pooler\..*",
        options={"hf_overrides": {"architectures": ["BertSpladeSparseEmbeddingModel"]}},
    ),
    "colbert-ir/colbertv2.0": Published("HF_ColBERT", {**BASE, "dim": 128}, colbert_shapes),
    "answerdotai/answerai-colbert-small-v1": Published(
        "HF_ColBERT", {**MINI, "num_hidden_layers": 12, "dim": 96}, colbert_shapes
    ),
    "cross-encoder/ms-marco-MiniLM-L-6-v2": Published(
        "BertForSequenceClassification",
        {**MINI, **ONE_LABEL, "num_hidden_layers": 6},
        "BertForSequenceClassification",
        besides={"bert.embeddings.position_ids": (1, 512)},
    ),
    "boltuix/NeuroBERT-NER": Published(
        "BertForTokenClassification", {**BASE, "num_labels": 37}, "BertForTokenClassification"
    ),
    "shibing624/text2vec-base-chinese-sentence": Published(
        "ErnieModel",
        {
            **BASE,
            "vocab_size": 40000,
            "max_position_embeddings": 2048,
            "type_vocab_size": 4,
            "task_type_vocab_size": 3,
            "use_task_id": True,
        },
        "ErnieModel",
    ),
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
    "sentence-transformers/all-mpnet-base-v2": Published(
        "MPNetForMaskedLM",
        {**BASE, "vocab_size": 30527, "max_position_embeddings": 514, "relative_attention_num_buckets": 32},
        "MPNetModel",
        besides={"embeddings.position_ids": (1, 514)},
    ),
    "jinaai/jina-embeddings-v2-base-en": Published(
        "JinaBertForMaskedLM",
        {**JINA_BERT, **BASE, "vocab_size": 30528, "max_position_embeddings": 8192},
        jina_bert_shapes,
        besides={"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)},
    ),
    "jinaai/jina-embeddings-v2-base-code": Published(
        "JinaBertForMaskedLM",
        {**JINA_BERT, **BASE, **JINA_BERT_WITH_NORMS, "vocab_size": 61056, "max_position_embeddings": 8192},
        jina_bert_shapes,
        besides={"pooler.dense.weight": ("size", "size"), "pooler.dense.bias": ("size",)},
    ),
    "jinaai/jina-reranker-v1-turbo-en": Published(
        "JinaBertForSequenceClassification",
        {
            **JINA_BERT,
            **MINI,
            **ONE_LABEL,
            "num_hidden_layers": 6,
            "vocab_size": 61056,
            "max_position_embeddings": 8192,
        },
        jina_reranker_shapes,
    ),
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
    "jinaai/jina-embeddings-v3": Published("XLMRobertaModel", FLASH, jina_shapes, prefix="roberta."),
    "jinaai/jina-colbert-v2": Published(
        "HF_ColBERT",
        {**FLASH, "lora_adaptations": None, "dim": 128, "type_vocab_size": 1},
        jina_shapes,
        prefix="roberta.",
        besides={"linear.weight": (128, "size")},
    ),
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
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": Published(
        "DistilBertForSequenceClassification",
        {
            "vocab_size": 30522,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "num_labels": 2,
            "max_position_embeddings": 512,
            "activation": "gelu",
        },
        "DistilBertForSequenceClassification",
    ),
    "mixedbread-ai/mxbai-rerank-base-v1": Published(
        "DebertaV2ForSequenceClassification", {**DEBERTA, **ONE_LABEL}, "DebertaV2ForSequenceClassification"
    ),
    "Qwen/Qwen3-Embedding-0.6B": Published("Qwen3ForCausalLM", QWEN3, "Qwen3Model", options={"runner": "pooling"}),
    "Qwen/Qwen3-Reranker": Published(
        "Qwen3ForCausalLM",
        {**QWEN3, "classifier_from_token_ids": [2152, 9693], "method": "from_2_way_softmax"},
        "Qwen3ForCausalLM",
        without=r"lm_head\..*",
        options={"hf_overrides": {"architectures": ["Qwen3ForSequenceClassification"]}},
    ),
    "tomaarsen/Qwen3-Reranker-0.6B-seq-cls": Published(
        "Qwen3ForSequenceClassification", {**QWEN3, **ONE_LABEL}, "Qwen3ForSequenceClassification"
    ),
    "bd2lcco/Qwen3-0.6B-finetuned": Published(
        "Qwen3ForTokenClassification", {**QWEN3, "num_labels": 9}, "Qwen3ForTokenClassification"
    ),
    "voyageai/voyage-4-nano": Published(
        "VoyageQwen3BidirectionalEmbedModel",
        {**QWEN3, "num_labels": 2048},
        "Qwen3Model",
        prefix="model.",
        besides={"linear.weight": (2048, "size")},
    ),
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": Published("Qwen2ForCausalLM", {**QWEN2, "is_causal": False}, "Qwen2Model"),
    "Alibaba-NLP/gte-Qwen2-7B-instruct": Published(
        "Qwen2ForCausalLM",
        {**QWEN2, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
        "Qwen2Model",
    ),
    "mixedbread-ai/mxbai-rerank-base-v2": Published(
        "Qwen2ForCausalLM",
        {
            **QWEN2,
            "tie_word_embeddings": True,
            "classifier_from_token_ids": [15, 16],
            "method": "from_2_way_softmax",
        },
        "Qwen2ForCausalLM",
        without=r"lm_head\..*",
        options={"hf_overrides": {"architectures": ["Qwen2ForSequenceClassification"]}},
    ),
    "jason9693/Qwen2.5-1.5B-apeach": Published(
        "Qwen2ForSequenceClassification", {**QWEN2, "num_labels": 2}, "Qwen2ForSequenceClassification"
    ),
    "Qwen/Qwen2.5-Math-RM-72B": Published(
        "Qwen2ForRewardModel",
        {
            **QWEN2,
            "hidden_size": 8192,
            "intermediate_size": 29568,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
        },
        "Qwen2ForCausalLM",
        besides=two_maps(1),
    ),
    "Qwen/Qwen2.5-Math-PRM-7B": Published(
        "Qwen2ForProcessRewardModel",
        {**QWEN2, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
        "Qwen2ForCausalLM",
        besides=two_maps(2),
    ),
    "internlm/internlm2-1_8b-reward": Published(
        "InternLM2ForRewardModel", INTERNLM, internlm_shapes, besides={"v_head.weight": (1, "size")}
    ),
    "Skywork/Skywork-Reward-V2-Llama-3.2-1B": Published(
        "LlamaForSequenceClassification", {**LLAMA_1B, **ONE_LABEL}, "LlamaForSequenceClassification"
    ),
    "Skywork/Skywork-Reward-V2-Qwen3-0.6B": Published(
        "Qwen3ForSequenceClassification", {**QWEN3, **ONE_LABEL}, "Qwen3ForSequenceClassification"
    ),
    "nvidia/llama-nemotron-embed-1b-v2": Published(
        "LlamaBidirectionalModel", {**LLAMA_1B, "pooling": "avg"}, "LlamaModel"
    ),
    "nvidia/llama-nemotron-rerank-1b-v2": Published(
        "LlamaBidirectionalForSequenceClassification",
        {**LLAMA_1B, **ONE_LABEL, "pooling": "avg"},
        "LlamaForSequenceClassification",
    ),
    "intfloat/e5-mistral-7b-instruct": Published("MistralModel", MISTRAL, "MistralModel"),
    "peiyi9979/math-shepherd-mistral-7b-prm": Published(
        "MistralForCausalLM",
        MISTRAL,
        "MistralForCausalLM",
        options={"pooler_config": {"pooling_type": "STEP", "step_tag_id": 12902, "returned_token_ids": [648, 387]}},
        besides={"model.layers.0.self_attn.rotary_emb.inv_freq": (64,)},
    ),
    "parasail-ai/GritLM-7B-vllm": Published("GritLM", MISTRAL, "MistralForCausalLM"),
    "BAAI/bge-reranker-v2-gemma": Published(
        "GemmaForCausalLM",
        {
            **GEMMA,
            "vocab_size": 256000,
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
        },
        "GemmaForCausalLM",
        without=r"lm_head\..*",
        options={
            "hf_overrides": {
                "architectures": ["GemmaForSequenceClassification"],
                "classifier_from_token_ids": [3553],
                "method": "no_post_processing",
            }
        },
    ),
    "BAAI/bge-multilingual-gemma2": Published(
        "Gemma2Model",
        {
            **GEMMA,
            "vocab_size": 256002,
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "num_hidden_layers": 42,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        "Gemma2Model",
    ),
    "google/embeddinggemma-300m": Published(
        "Gemma3TextModel",
        {
            **GEMMA,
            "vocab_size": 262144,
            "hidden_size": 768,
            "intermediate_size": 1152,
            "num_hidden_layers": 24,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "sliding_window": 512,
            "query_pre_attn_scalar": 256,
            "use_bidirectional_attention": True,
            "rope_local_base_freq": 10000.0,
        },
        "Gemma3TextModel",
    ),
    "nie3e/sentiment-polish-gpt2-small": Published(
        "GPT2ForSequenceClassification",
        {
            "vocab_size": 50257,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_positions": 1024,
            "num_labels": 3,
            "activation_function": "gelu_new",
        },
        "GPT2ForSequenceClassification",
        besides={f"transformer.h.{layer}.attn.bias": (1, 1, 1024, 1024) for layer in range(12)},
    ),
    "mixedbread-ai/mxbai-embed-large-v1": Published(
        "BertModel",
        {**BASE, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24},
        "BertModel",
    ),
    "Forrest20231206/ernie-3.0-base-zh-cls": Published(
        "ErnieForSequenceClassification",
        {**BASE, "vocab_size": 40000, "type_vocab_size": 4, "task_type_vocab_size": 3, "use_task_id": True},
        "ErnieForSequenceClassification",
    ),
    "gyr66/Ernie-3.0-base-chinese-finetuned-ner": Published(
        "ErnieForTokenClassification",
        {
            **BASE,
            "vocab_size": 40000,
            "type_vocab_size": 4,
            "task_type_vocab_size": 3,
            "use_task_id": True,
            "num_labels": 31,
        },
        "ErnieForTokenClassification",
    ),
    "Snowflake/snowflake-arctic-embed-l-v2.0": Published(
        "XLMRobertaModel", {**XLMR_LARGE, "max_position_embeddings": 8194}, "XLMRobertaModel"
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
    "elastic/distilbert-base-uncased-finetuned-conll03-english": Published(
        "DistilBertForTokenClassification",
        {
            "vocab_size": 30522,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "num_labels": 9,
            "max_position_embeddings": 512,
            "activation": "gelu",
        },
        "DistilBertForTokenClassification",
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
    "openai/clip-vit-base-patch32": Published(
        "CLIPModel",
        {"projection_dim": 512, "text_config": {}, "vision_config": {}},
        "CLIPModel",
        besides={
            "text_model.embeddings.position_ids": (1, 77),
            "vision_model.embeddings.position_ids": (1, 50),
        },
    ),
    "TIGER-Lab/VLM2Vec-Full": Published(
        "Phi3VForCausalLM",
        {key: value for key, value in PHI3_VISION.items() if key != "architectures"},
        phi3_vision_with_clip,
        besides={
            "model.vision_embed_tokens.wte.weight": (32064, "size"),
            "model.vision_embed_tokens.img_processor.vision_model.embeddings.position_ids": (1, 577),
        },
    ),
    "nvidia/llama-nemotron-embed-vl-1b-v2": Published(
        "LlamaNemotronVLModel",
        NEMOTRON_VL,
        nemotron_vl_shapes,
        besides={"language_model.lm_head.weight": (128266, 2048)},
    ),
    "nvidia/llama-nemotron-rerank-vl-1b-v2": Published(
        "LlamaNemotronVLForSequenceClassification",
        {**NEMOTRON_VL, "num_labels": 1},
        nemotron_vl_shapes,
        prefix="model.",
        besides={"score.weight": (1, 2048)},
    ),
    "google/siglip-base-patch16-224": Published("SiglipModel", {"text_config": {}, "vision_config": {}}, "SiglipModel"),
}


def written_by(layout, config):
    """Names and shapes: what a class of transformers would write, or what a function says."""
    if callable(layout):
        return layout(config)
    library = pytest.importorskip("transformers")
    kind = getattr(library, layout)
    values = {key: value for key, value in config.items() if key not in ("num_labels", "model_type")}
    with torch.device("meta"):
        made = kind(kind.config_class(**values, num_labels=config.get("num_labels", 2)))
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


def tensors_of(model):
    """The tensors of a published checkpoint, without memory."""
    size = model.config.get("hidden_size", model.config.get("n_embd"))
    shapes = {f"{model.prefix}{name}": shape for name, shape in written_by(model.written_by, model.config).items()}
    for pattern, replacement in model.renamed:
        shapes = {re.sub(pattern, replacement, name): shape for name, shape in shapes.items()}
    shapes |= {name: tuple(size if it == "size" else it for it in shape) for name, shape in model.besides.items()}
    for name, shape in shapes.items():
        if not (model.without and re.fullmatch(model.without, name)):
            yield name, torch.empty(shape, device="meta")


def built(folder, model):
    """The model that a published config.json leads to, on the meta device, and what became of the tensors."""
    repository = find_repository(REGISTRY, str(folder), SourceOptions())
    options = {"pooler_config": None, **model.options}
    resolution = resolve(REGISTRY, repository, load_options(options))
    ctx = Context(
        registry=REGISTRY,
        model=resolution.model_config(),
        config=resolution.config,
        device=torch.device("cpu"),
        dtype=torch.float32,
        tokenizer=load_tokenizer(repository),
    )
    kind = resolution.architecture.load()
    if resolution.converter is not None:
        kind = resolution.converter.load()(kind, ctx)
    with torch.device("meta"):
        made = kind(ctx)
    made.ctx = replace(made.ctx, device=torch.device("meta"))
    return made, made.load_weights(tensors_of(model))


def load_options(options):
    return LoadOptions(**{**options, "pooler_config": PoolerConfig.parse(options["pooler_config"])})


def without_values(model, placed):
    """The parameters, and parts of fused ones, that no tensor was for."""
    missing = []
    for path, _ in model.named_parameters():
        parts = getattr(model.get_submodule(path.rpartition(".")[0]), "parts", ())
        fused = [f"{path}@{number}" for number in range(len(parts))]
        if path not in placed and (not fused or not placed.issuperset(fused)):
            missing.append(path)
    return missing


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_finds_its_parameter_and_every_parameter_its_tensor(tmp_path, monkeypatch, name):
    model = PUBLISHED[name]
    folder = tmp_path / name.rpartition("/")[2]
    if model.architecture == "GritLM":  # it finds texts by their tokens
        tiny_gritlm(folder)
        (folder / "model.safetensors").unlink()
    changed = []
    monkeypatch.setattr("millpond_models.roberta.with_changes", lambda _, changes, ctx: changed.append(changes))
    write_config(
        folder, {"architectures": [model.architecture], **{k: v for k, v in model.config.items() if v is not None}}
    )
    made, placement = built(folder, model)
    assert placement.unused == []
    assert without_values(made, placement.placed) == []
    assert bool(changed) is (name == "jinaai/jina-embeddings-v3")
    for path, (up, down) in (item for changes in changed for item in changes.items()):
        assert made.get_submodule(path).weight.shape == (len(up), down.shape[1])


def test_a_tensor_too_much_and_one_too_little_are_seen(tmp_path):
    name = "intfloat/e5-small"
    lacking = replace(PUBLISHED[name], without=r"encoder\.layer\.3\.output\.dense\.bias", besides={"mill.weight": (2,)})
    write_config(tmp_path, {"architectures": ["BertModel"], **lacking.config})
    made, placement = built(tmp_path, lacking)
    assert placement.unused == ["mill.weight"]
    assert without_values(made, placement.placed) == ["layers.3.feed_forward.down.bias"]


def test_they_are_those_that_the_records_name():
    named = {model.name for entry in REGISTRY.architectures.entries() for model in entry.spec.published}
    known = [name for name in PUBLISHED if any(re.fullmatch(n.replace("*", ".*"), name) for n in named)]
    assert len(known) > 40
