"""config.json and tensor shapes of small encoders with rotary embeddings, named as in published checkpoints.

Jina's XLM-RoBERTa (also with transformers' names), ModernBERT, Nomic's BERT and GTE.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.checkpoints import Shape

BASE_CONFIG: Mapping[str, Any] = MappingProxyType(
    {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
)
JINA: Mapping[str, Any] = MappingProxyType(
    {
        "position_embedding_type": "rotary",
        "rotary_emb_base": 20000.0,
        "lora_adaptations": ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"],
        "lora_alpha": 1,
        "lora_rank": 4,
        "matryoshka_dimensions": [8, 16, 32],
        "task_instructions": {
            "retrieval.query": "Represent the query for retrieving evidence documents: ",
            "retrieval.passage": "Represent the document for retrieval: ",
            "separation": "",
            "classification": "",
            "text-matching": "",
        },
    }
)
"""Keys of config.json in jina-embeddings-v3 that XLM-RoBERTa does not have."""

MODERNBERT: Mapping[str, Any] = MappingProxyType(
    {
        **BASE_CONFIG,
        "model_type": "modernbert",
        "num_hidden_layers": 4,
        "max_position_embeddings": 64,
        "hidden_activation": "gelu",
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "local_attention": 16,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "classifier_pooling": "mean",
        "classifier_bias": False,
        "classifier_activation": "gelu",
    }
)
NOMIC: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "nomic_bert",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_inner": 48,
        "n_positions": 64,
        "max_trained_positions": 64,
        "layer_norm_epsilon": 1e-12,
        "activation_function": "swiglu",
        "type_vocab_size": 2,
        "prenorm": False,
        "use_rms_norm": False,
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
    }
)
GTE: Mapping[str, Any] = MappingProxyType(
    {
        **BASE_CONFIG,
        "max_position_embeddings": 64,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "layer_norm_type": "layer_norm",
        "position_embedding_type": "rope",
        "rope_theta": 20000.0,
        "rope_scaling": {"type": "ntk", "factor": 8.0},
        "type_vocab_size": 1,
        "pack_qkv": True,
        "logn_attention_scale": False,
    }
)
JINA_V3: Mapping[str, Any] = MappingProxyType(
    {
        **BASE_CONFIG,
        "model_type": "jina_embeddings_v3",
        "max_position_embeddings": 64,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "type_vocab_size": 1,
        "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"},
    }
)
ROTARY_ENCODERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ModernBertModel": MODERNBERT,
        "NomicBertModel": NOMIC,
        "NewModel": {**GTE, "model_type": "new"},
        "GteNewModel": {**GTE, "model_type": "new"},
        "GteModel": {**GTE, "model_type": "gte", "rope_scaling": None, "rope_theta": 160000.0},
        "JinaEmbeddingsV3Model": JINA_V3,
    }
)
"""The config.json of backbones, by architecture, without keys that depend on the tokenizer."""


def is_jina(config: Mapping[str, Any]) -> bool:
    """Return True if a config.json of XLM-RoBERTa is that of Jina's model with rotary embeddings."""
    return config.get("position_embedding_type") == "rotary"


def rotary_encoder_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of one of ``ROTARY_ENCODERS``."""
    if architecture == "ModernBertModel":
        return modernbert_shapes(config)
    if architecture == "NomicBertModel":
        return nomic_shapes(config)
    if architecture == "JinaEmbeddingsV3Model":
        return jina_v3_shapes(config)
    prefix = "" if architecture == "GteModel" else "new."
    return {f"{prefix}{name}": shape for name, shape in gte_shapes(config).items()}


def jina_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of jina-embeddings-v3, with its adapters if config.json lists any."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    embeddings: dict[str, Shape] = {
        "embeddings.word_embeddings": (config["vocab_size"], size),
        "embeddings.token_type_embeddings": (config["type_vocab_size"], size),
    }
    linear_layers: dict[str, Shape] = {}
    norms = ["emb_ln"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{number}"
        linear_layers |= {
            f"{layer}.mixer.Wqkv": (3 * size, size),
            f"{layer}.mixer.out_proj": (size, size),
            f"{layer}.mlp.fc1": (inner, size),
            f"{layer}.mlp.fc2": (size, inner),
        }
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    linear_layers["pooler.dense"] = (size, size)
    shapes: dict[str, Shape] = {}
    for name, shape in (embeddings | linear_layers).items():
        shapes |= _adapted(name, shape, config, swapped=name in embeddings)
    return shapes | _biases(linear_layers) | _norms(norms, size)


def jina_v3_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of jina-embeddings-v3 by transformers' names, without the pooler."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] * config.get("head_dim", size // config["num_attention_heads"])
    linear_layers: dict[str, Shape] = {}
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"layers.{number}"
        linear_layers |= {f"{layer}.self_attn.{name}_proj": (heads, size) for name in "qkv"}
        linear_layers |= {
            f"{layer}.self_attn.o_proj": (size, heads),
            f"{layer}.mlp.fc1": (inner, size),
            f"{layer}.mlp.fc2": (size, inner),
        }
        norms += [f"{layer}.post_attention_layernorm", f"{layer}.post_mlp_layernorm"]
    return _embeddings(config, size) | _weights(linear_layers) | _biases(linear_layers) | _norms(norms, size)


def modernbert_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of ModernBERT; the first layer has no attention norm."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    linear_layers: dict[str, Shape] = {}
    biased: list[str] = []
    norms = ["embeddings.norm", "final_norm"]
    for number in range(config["num_hidden_layers"]):
        attention = {"attn.Wqkv": (3 * size, size), "attn.Wo": (size, size)}
        feed_forward = {"mlp.Wi": (2 * inner, size), "mlp.Wo": (size, inner)}
        linear_layers |= {f"layers.{number}.{name}": shape for name, shape in (attention | feed_forward).items()}
        biased += [f"layers.{number}.{name}" for name in attention if config["attention_bias"]]
        biased += [f"layers.{number}.{name}" for name in feed_forward if config["mlp_bias"]]
        norms += [f"layers.{number}.attn_norm"] if number else []
        norms.append(f"layers.{number}.mlp_norm")
    return {
        "embeddings.tok_embeddings.weight": (config["vocab_size"], size),
        **_weights(linear_layers),
        **_biases({name: linear_layers[name] for name in biased}),
        **_norms(norms, size, bias=config["norm_bias"]),
    }


def nomic_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of Nomic's BERT, with experts in the second of every ``moe_every_n_layers`` layers."""
    size, inner, every = config["n_embd"], config["n_inner"], config.get("moe_every_n_layers") or 0
    shapes = _embeddings(config, size)
    linear_layers: dict[str, Shape] = {}
    norms = ["emb_ln"]
    for number in range(config["n_layer"]):
        layer = f"encoder.layers.{number}"
        linear_layers |= {f"{layer}.attn.Wqkv": (3 * size, size), f"{layer}.attn.out_proj": (size, size)}
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
        if every and number % every == 1:
            experts = config["num_experts"]
            shapes[f"{layer}.mlp.router.layer.weight"] = (experts, size)
            shapes |= {f"{layer}.mlp.experts.mlp.{name}": (experts * inner, size) for name in ("w1", "w2")}
            shapes[f"{layer}.mlp.experts.bias"] = (size,)
            continue
        gated = config["activation_function"] != "gelu"
        linear_layers |= {f"{layer}.mlp.{name}": (inner, size) for name in (("fc11", "fc12") if gated else ("fc1",))}
        linear_layers[f"{layer}.mlp.fc2"] = (size, inner)
    biased = {name: shape for name, shape in linear_layers.items() if config[_nomic_bias(name)]}
    return shapes | _weights(linear_layers) | _biases(biased) | _norms(norms, size)


def gte_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of GTE without a prefix; only ``up_gate_proj`` has no bias."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes = _embeddings(config, size)
    linear_layers: dict[str, Shape] = {}
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        packed: dict[str, int] = (
            {"qkv_proj": 3 * size}
            if config.get("pack_qkv", True)
            else dict.fromkeys(("q_proj", "k_proj", "v_proj"), size)
        )
        linear_layers |= {f"{layer}.attention.{name}": (rows, size) for name, rows in packed.items()}
        linear_layers |= {f"{layer}.attention.o_proj": (size, size), f"{layer}.mlp.down_proj": (size, inner)}
        shapes[f"{layer}.mlp.up_gate_proj.weight"] = (2 * inner, size)
        norms += [f"{layer}.attn_ln", f"{layer}.mlp_ln"]
    return shapes | _weights(linear_layers) | _biases(linear_layers) | _norms(norms, size)


def _nomic_bias(name: str) -> str:
    """Return the key of config.json for the bias of a linear layer of Nomic's BERT."""
    if ".attn." in name:
        return "qkv_proj_bias"
    return "mlp_fc2_bias" if name.endswith("fc2") else "mlp_fc1_bias"


def _embeddings(config: Mapping[str, Any], size: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {"embeddings.word_embeddings.weight": (config["vocab_size"], size)}
    if config["type_vocab_size"]:
        shapes["embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], size)
    return shapes


def _weights(linear_layers: Mapping[str, Shape]) -> dict[str, Shape]:
    return {f"{name}.weight": shape for name, shape in linear_layers.items()}


def _biases(linear_layers: Mapping[str, Shape]) -> dict[str, Shape]:
    return {f"{name}.bias": shape[:1] for name, shape in linear_layers.items()}


def _norms(names: list[str], size: int, *, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.{part}": (size,) for name in names for part in (("weight", "bias") if bias else ("weight",))}


def _adapted(name: str, shape: Shape, config: Mapping[str, Any], *, swapped: bool) -> dict[str, Shape]:
    """Return the shape of a weight, and of its adapters if there are any; embeddings have A and B swapped."""
    tasks = len(config.get("lora_adaptations") or ())
    if not tasks:
        return {f"{name}.weight": shape}
    rank = config["lora_rank"]
    first, second = (tasks, rank, shape[1]), (tasks, shape[0], rank)
    a, b = (second, first) if swapped else (first, second)
    prefix = f"{name}.parametrizations.weight"
    return {f"{prefix}.original": shape, f"{prefix}.0.lora_A": a, f"{prefix}.0.lora_B": b}
