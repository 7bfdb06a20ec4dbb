"""config.json and tensor shapes of a small GPT-2."""

from collections.abc import Mapping
from typing import Any

from millpond.testing.checkpoints import Shape


def gpt2_config(architecture: str) -> dict[str, Any]:
    """Return a config.json with two layers, 32 dimensions and 64 positions, without keys of the tokenizer."""
    return {
        "architectures": [architecture],
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_inner": 48,
        "n_positions": 64,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    }


def gpt2_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes by transformers' names; linear layers are stored as [in_features, out_features]."""
    size, inner = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    shapes: dict[str, Shape] = {"wte.weight": (config["vocab_size"], size), "wpe.weight": (config["n_positions"], size)}
    linear_layers = {
        "attn.c_attn": (size, 3 * size),
        "attn.c_proj": (size, size),
        "mlp.c_fc": (size, inner),
        "mlp.c_proj": (inner, size),
    }
    norms = ["ln_f"]
    for number in range(config["n_layer"]):
        norms += [f"h.{number}.ln_1", f"h.{number}.ln_2"]
        for name, shape in linear_layers.items():
            shapes |= {f"h.{number}.{name}.weight": shape, f"h.{number}.{name}.bias": shape[1:]}
    return shapes | {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
