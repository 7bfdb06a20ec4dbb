"""The config.json and the tensors of small DistilBERTs, EuroBERTs and DeBERTas, by their names in transformers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.heads import SEQUENCE, TOKEN, linear

Shape = tuple[int, ...]

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
CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"DistilBert": DISTILBERT})
ENCODER_FAMILIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {f"{family}{head}": config for family, config in CONFIGS.items() for head in ("Model", SEQUENCE, TOKEN)}
)
"""Each alone and with its classifiers, by architecture: their config.json without what depends on the tokenizer."""


def encoder_family_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """The tensors of one of ``ENCODER_FAMILIES``; those of a backbone have a prefix only where there is a head."""
    labels = len(config.get("id2label") or (0, 1))
    return distilbert_shapes(architecture, config, labels)


def distilbert_shapes(architecture: str, config: Mapping[str, Any], labels: int) -> dict[str, Shape]:
    """The tensors of DistilBERT."""
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
