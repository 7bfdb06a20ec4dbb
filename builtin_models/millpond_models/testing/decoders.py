"""config.json and tensor shapes of small decoders: Llama, Mistral, Qwen2, Qwen3, Phi-3, Gemma 1 to 3, LFM2."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.checkpoints import Shape
from millpond_models.testing.gpt2 import gpt2_config, gpt2_shapes
from millpond_models.testing.lfm2 import LFM2_FAMILIES, LFM2_MODEL_TYPES, lfm2_config, lfm2_shapes

FAMILY_CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Llama": {"model_type": "llama", "attention_bias": False, "mlp_bias": False},
        "Mistral": {"model_type": "mistral", "sliding_window": 24},
        "Qwen2": {
            "model_type": "qwen2",
            "use_sliding_window": False,
            "sliding_window": 24,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
        "Qwen3": {
            "model_type": "qwen3",
            "head_dim": 16,
            "attention_bias": False,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": 2,
            "tie_word_embeddings": True,
        },
        "Phi3": {"model_type": "phi3", "sliding_window": 24, "pad_token_id": 3},
        "Gemma": {
            "model_type": "gemma",
            "head_dim": 16,
            "num_key_value_heads": 1,
            "hidden_act": "gelu_pytorch_tanh",
            "attention_bias": False,
            "tie_word_embeddings": True,
        },
        "Gemma2": {
            "model_type": "gemma2",
            "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 24,
            "sliding_window": 24,
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 30.0,
            "attention_bias": False,
            "tie_word_embeddings": True,
        },
        "Gemma3Text": {
            "model_type": "gemma3_text",
            "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 24,
            "rope_theta": 50000.0,
            "rope_local_base_freq": 5000.0,
            "attention_bias": False,
            "use_bidirectional_attention": True,
            "tie_word_embeddings": True,
        },
        "LlamaBidirectional": {"model_type": "llama_bidirec", "attention_bias": False, "pooling": "avg"},
        "VoyageQwen3BidirectionalEmbed": {
            "model_type": "qwen3",
            "head_dim": 16,
            "attention_bias": False,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": 2,
            "num_labels": 24,
            "tie_word_embeddings": True,
        },
    }
)
"""Keys of config.json that are specific to a family."""

EMBEDDING_ONLY = ("Gemma3Text", "LlamaBidirectional", "VoyageQwen3BidirectionalEmbed")
"""Families without small checkpoints of a causal language model."""

WITH_HEAD_NORMS = ("Qwen3", "Gemma3Text", "VoyageQwen3BidirectionalEmbed")
WITH_POST_NORMS = ("Gemma2", "Gemma3Text")

DECODERS = (
    *(
        f"{family}{suffix}"
        for family in FAMILY_CONFIGS
        for suffix in ("Model", "ForCausalLM")
        if suffix == "Model" or family not in EMBEDDING_ONLY
    ),
    "GPT2Model",
    *LFM2_FAMILIES,
)


def decoder_config(architecture: str) -> dict[str, Any]:
    """Return a config.json with two layers, 32 dimensions and 64 positions, without keys of the tokenizer."""
    if architecture == "GPT2Model":
        return gpt2_config(architecture)
    if architecture in LFM2_FAMILIES:
        return lfm2_config(architecture)
    return {
        "architectures": [architecture],
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **FAMILY_CONFIGS[_family(architecture)],
    }


def decoder_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of a decoder by transformers' names.

    Causal language models (``*ForCausalLM``) have the prefix ``model.``, and an LM head unless it is tied.
    """
    (architecture,) = config["architectures"]
    family = _family(architecture)
    if family == "GPT2":
        return gpt2_shapes(config)
    if config.get("model_type") in LFM2_MODEL_TYPES:
        return lfm2_shapes(config)
    size, vocabulary = config["hidden_size"], config["vocab_size"]
    shapes: dict[str, Shape] = {"embed_tokens.weight": (vocabulary, size)}
    for number in range(config["num_hidden_layers"]):
        layer = _layer_shapes(family, config)
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["norm.weight"] = (size,)
    if family == "VoyageQwen3BidirectionalEmbed":
        shapes["linear.weight"] = (config["num_labels"], size)
    if not architecture.endswith("ForCausalLM"):
        return shapes
    head: dict[str, Shape] = {} if config.get("tie_word_embeddings") else {"lm_head.weight": (vocabulary, size)}
    return {f"model.{name}": shape for name, shape in shapes.items()} | head


def _layer_shapes(family: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    size, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or size // heads
    keys = (config.get("num_key_value_heads") or heads) * head_dim
    attention: dict[str, Shape] = {
        "q_proj": (heads * head_dim, size),
        "k_proj": (keys, size),
        "v_proj": (keys, size),
        "o_proj": (size, heads * head_dim),
    }
    if family == "Phi3":
        attention = {"qkv_proj": (heads * head_dim + 2 * keys, size), "o_proj": attention["o_proj"]}
    feed_forward: dict[str, Shape] = {"gate_proj": (inner, size), "up_proj": (inner, size), "down_proj": (size, inner)}
    if family == "Phi3":
        feed_forward = {"gate_up_proj": (2 * inner, size), "down_proj": (size, inner)}
    biased = list(attention) if config.get("attention_bias") else []
    biased = ["q_proj", "k_proj", "v_proj"] if family == "Qwen2" else biased
    shapes: dict[str, Shape] = {"input_layernorm.weight": (size,)}
    for name, shape in attention.items():
        shapes[f"self_attn.{name}.weight"] = shape
        if name in biased:
            shapes[f"self_attn.{name}.bias"] = shape[:1]
    if family in WITH_HEAD_NORMS:
        shapes |= {f"self_attn.{name}.weight": (head_dim,) for name in ("q_norm", "k_norm")}
    shapes["post_attention_layernorm.weight"] = (size,)
    if family in WITH_POST_NORMS:
        shapes |= {f"{name}_feedforward_layernorm.weight": (size,) for name in ("pre", "post")}
    for name, shape in feed_forward.items():
        shapes[f"mlp.{name}.weight"] = shape
        if config.get("mlp_bias"):
            shapes[f"mlp.{name}.bias"] = shape[:1]
    return shapes


def _family(architecture: str) -> str:
    return architecture.partition("For")[0].removesuffix("Model")
