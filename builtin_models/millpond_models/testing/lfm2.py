"""config.json and tensor shapes of small LFM2 checkpoints."""

from collections.abc import Mapping
from typing import Any

from millpond.testing.checkpoints import Shape

LFM2_FAMILIES = ("Lfm2Model", "Lfm2ForCausalLM", "Lfm2BidirectionalModel")

LFM2_MODEL_TYPES = ("lfm2", "lfm2_bidirectional")


def lfm2_config(architecture: str) -> dict[str, Any]:
    """Return a config.json with four layers, two of them with attention, without keys of the tokenizer."""
    return {
        "architectures": [architecture],
        "model_type": "lfm2",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "block_auto_adjust_ff_dim": False,
        "conv_L_cache": 3,
        "conv_bias": False,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
        "max_position_embeddings": 64,
        "norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }


def lfm2_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes by transformers' names."""
    (architecture,) = config["architectures"]
    size = config["hidden_size"]
    shapes: dict[str, Shape] = {"embed_tokens.weight": (config["vocab_size"], size)}
    for number in range(config["num_hidden_layers"]):
        layer = _attention(config) if _layer_type(config, number) == "full_attention" else _convolution(config)
        inner = _inner(config)
        layer |= {"operator_norm.weight": (size,), "ffn_norm.weight": (size,)}
        layer |= {f"feed_forward.{name}.weight": (inner, size) for name in ("w1", "w3")}
        layer |= {"feed_forward.w2.weight": (size, inner)}
        shapes |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["embedding_norm.weight"] = (size,)
    prefix = "model." if architecture.endswith("ForCausalLM") else ""
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def _layer_type(config: Mapping[str, Any], layer: int) -> str:
    types, attending = config.get("layer_types"), config.get("full_attn_idxs")
    if types is not None:
        return str(types[layer])
    return "full_attention" if attending is None or layer in attending else "conv"


def _attention(config: Mapping[str, Any]) -> dict[str, Shape]:
    size = config["hidden_size"]
    head = size // config["num_attention_heads"]
    keys = head * config["num_key_value_heads"]
    projections = {"q_proj": (size, size), "k_proj": (keys, size), "v_proj": (keys, size), "out_proj": (size, size)}
    norms: dict[str, Shape] = {f"self_attn.{name}_layernorm.weight": (head,) for name in ("q", "k")}
    return {f"self_attn.{name}.weight": shape for name, shape in projections.items()} | norms


def _convolution(config: Mapping[str, Any]) -> dict[str, Shape]:
    size = config["hidden_size"]
    projections: dict[str, Shape] = {
        "in_proj": (3 * size, size),
        "conv": (size, 1, config["conv_L_cache"]),
        "out_proj": (size, size),
    }
    shapes = {f"conv.{name}.weight": shape for name, shape in projections.items()}
    biases = {f"conv.{name}.bias": shape[:1] for name, shape in projections.items()} if config["conv_bias"] else {}
    return shapes | biases


def _inner(config: Mapping[str, Any]) -> int:
    size = int(config.get("block_ff_dim") or config["intermediate_size"])
    if not config.get("block_auto_adjust_ff_dim", True):
        return size
    multiple = config.get("block_multiple_of", 256)
    size = int(config.get("block_ffn_dim_multiplier", 1.0) * int(2 * size / 3))
    return int((size + multiple - 1) // multiple * multiple)
