"""config.json and tensor shapes of small DistilBERT, EuroBERT and DeBERTa checkpoints, by transformers' names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.checkpoints import Shape
from millpond_models.testing.decoders import decoder_shapes
from millpond_models.testing.heads import SEQUENCE, TOKEN, linear

DISTILBERT: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "distilbert",
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 48,
        "activation": "gelu",
        "max_position_embeddings": 64,
        "sinusoidal_pos_embds": False,
    }
)
EUROBERT: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "eurobert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 250000.0,
        "attention_bias": False,
        "mlp_bias": False,
    }
)
DEBERTA: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "deberta-v2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_act": "gelu",
        "max_position_embeddings": 64,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_buckets": 12,
        "position_biased_input": False,
        "pos_att_type": "p2c|c2p",
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": 32,
    }
)
CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"DistilBert": DISTILBERT, "EuroBert": EUROBERT, "DebertaV2": DEBERTA}
)
ENCODER_FAMILIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {f"{family}{head}": config for family, config in CONFIGS.items() for head in ("Model", SEQUENCE, TOKEN)}
)
"""The config.json of encoders and their classifiers, by architecture, without keys that depend on the tokenizer."""


def encoder_family_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of one of ``ENCODER_FAMILIES``; names have a prefix only in models with a head."""
    labels = len(config.get("id2label") or (0, 1))
    if architecture.startswith("EuroBert"):
        return eurobert_shapes(architecture, config, labels)
    if architecture.startswith("DebertaV2"):
        return deberta_shapes(architecture, config, labels)
    return distilbert_shapes(architecture, config, labels)


def distilbert_shapes(architecture: str, config: Mapping[str, Any], labels: int) -> dict[str, Shape]:
    """Return the tensor shapes of DistilBERT."""
    size, inner = config["dim"], config["hidden_dim"]
    prefix = "" if architecture.endswith("Model") else "distilbert."
    shapes: dict[str, Shape] = {
        f"{prefix}embeddings.word_embeddings.weight": (config["vocab_size"], size),
        f"{prefix}embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
    }
    norms = [f"{prefix}embeddings.LayerNorm"]
    for number in range(config["n_layers"]):
        layer = f"{prefix}transformer.layer.{number}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            linear(f"{layer}.attention.{name}", size, size, shapes)
        linear(f"{layer}.ffn.lin1", inner, size, shapes)
        linear(f"{layer}.ffn.lin2", size, inner, shapes)
        norms += [f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm"]
    shapes |= {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
    if architecture.endswith(SEQUENCE):
        linear("pre_classifier", size, size, shapes)
    if prefix:
        linear("classifier", labels, size, shapes)
    return shapes


def eurobert_shapes(architecture: str, config: Mapping[str, Any], labels: int) -> dict[str, Shape]:
    """Return the tensor shapes of EuroBERT, which are those of Llama."""
    as_llama = {**config, "architectures": ["LlamaModel"]}
    size = config["hidden_size"]
    prefix = "" if architecture.endswith("Model") else "model."
    shapes = {f"{prefix}{name}": shape for name, shape in decoder_shapes(as_llama).items()}
    if architecture.endswith(SEQUENCE):
        linear("dense", size, size, shapes)
    if prefix:
        linear("classifier", labels, size, shapes)
    return shapes


def deberta_shapes(architecture: str, config: Mapping[str, Any], labels: int) -> dict[str, Shape]:
    """Return the tensor shapes of DeBERTa."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    prefix = "" if architecture.endswith("Model") else "deberta."
    embedding_size = config.get("embedding_size") or size
    shapes: dict[str, Shape] = {f"{prefix}embeddings.word_embeddings.weight": (config["vocab_size"], embedding_size)}
    if config["position_biased_input"]:
        shapes[f"{prefix}embeddings.position_embeddings.weight"] = (config["max_position_embeddings"], embedding_size)
    if config["type_vocab_size"]:
        shapes[f"{prefix}embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], embedding_size)
    if embedding_size != size:
        linear(f"{prefix}embeddings.embed_proj", size, embedding_size, shapes, bias=False)
    norms = [f"{prefix}embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"{prefix}encoder.layer.{number}"
        for name in _deberta_projections(config):
            linear(f"{layer}.attention.self.{name}", size, size, shapes)
        linear(f"{layer}.attention.output.dense", size, size, shapes)
        linear(f"{layer}.intermediate.dense", inner, size, shapes)
        linear(f"{layer}.output.dense", size, inner, shapes)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    if config["relative_attention"]:
        max_distance = max(0, config["max_relative_positions"])
        span = max(config["position_buckets"], 0) or max_distance or config["max_position_embeddings"]
        shapes[f"{prefix}encoder.rel_embeddings.weight"] = (2 * span, size)
    norms += [f"{prefix}encoder.LayerNorm"] if "layer_norm" in config["norm_rel_ebd"] else []
    if config.get("conv_kernel_size", 0):
        groups = config.get("conv_groups", 1)
        shapes[f"{prefix}encoder.conv.conv.weight"] = (size, size // groups, config["conv_kernel_size"])
        shapes[f"{prefix}encoder.conv.conv.bias"] = (size,)
        norms.append(f"{prefix}encoder.conv.LayerNorm")
    shapes |= {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
    if architecture.endswith(SEQUENCE):
        linear("pooler.dense", size, size, shapes)
    if prefix:
        linear("classifier", labels, size, shapes)
    return shapes


def _deberta_projections(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the input projections of attention."""
    names = ["query_proj", "key_proj", "value_proj"]
    if config["relative_attention"] and not config["share_att_key"]:
        terms = config["pos_att_type"] or ""
        names += [name for term, name in (("c2p", "pos_key_proj"), ("p2c", "pos_query_proj")) if term in terms]
    return names
