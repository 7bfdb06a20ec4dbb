"""config.json and tensor shapes of small encoders with position bias: MPNet and Jina's BERT.

Tensors are named as in transformers' MPNet and in Jina's published files.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.checkpoints import Shape
from millpond_models.testing.heads import SEQUENCE, TOKEN, linear

BASE_CONFIG: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
)
MPNET: Mapping[str, Any] = MappingProxyType(
    {**BASE_CONFIG, "model_type": "mpnet", "max_position_embeddings": 66, "relative_attention_num_buckets": 32}
)
JINA_BERT: Mapping[str, Any] = MappingProxyType(
    {
        **BASE_CONFIG,
        "model_type": "bert",
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "emb_pooler": "mean",
        "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
    }
)
JINA_BERT_WITH_NORMS: Mapping[str, Any] = MappingProxyType(
    {"auto_map": {"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"}}
)
"""Keys of config.json that differ in jina-embeddings-v2-base-code."""

BIASED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{f"MPNet{head}": MPNET for head in ("Model", SEQUENCE, TOKEN)},
        **{f"JinaBert{head}": JINA_BERT for head in ("Model", SEQUENCE)},
    }
)
"""The config.json of encoders and their classifiers, by architecture, without keys that depend on the tokenizer."""

TOKENS: Mapping[str, str] = MappingProxyType(
    {name: "roberta" if name.startswith("MPNet") else "bert" for name in BIASED}
)
"""The tokenizer family of each architecture."""


def biased_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of one of ``BIASED``; names have a prefix only in models with a head."""
    labels, size = len(config.get("id2label") or (0, 1)), config["hidden_size"]
    bare = mpnet_shapes(config) if architecture.startswith("MPNet") else jina_bert_shapes(config)
    if architecture.endswith("Model"):
        return bare
    prefix = "mpnet." if architecture.startswith("MPNet") else "bert."
    shapes = {f"{prefix}{name}": shape for name, shape in bare.items()}
    if architecture.endswith(TOKEN):
        linear("classifier", labels, size, shapes)
    elif architecture.startswith("MPNet"):
        linear("classifier.dense", size, size, shapes)
        linear("classifier.out_proj", labels, size, shapes)
    else:
        linear("bert.pooler.dense", size, size, shapes)
        linear("classifier", labels, size, shapes)
    return shapes


def mpnet_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of MPNet without the pooler."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "encoder.relative_attention_bias.weight": (
            config["relative_attention_num_buckets"],
            config["num_attention_heads"],
        ),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for name in "qkvo":
            linear(f"{layer}.attention.attn.{name}", size, size, shapes)
        linear(f"{layer}.intermediate.dense", inner, size, shapes)
        linear(f"{layer}.output.dense", size, inner, shapes)
        norms += [f"{layer}.attention.LayerNorm", f"{layer}.output.LayerNorm"]
    return shapes | {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}


def jina_bert_shapes(config: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the tensor shapes of Jina's BERT without the pooler, in the layout that ``auto_map`` indicates."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    normed = "qk-post-norm" in str(config.get("auto_map"))
    shapes: dict[str, Shape] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], size),
    }
    if config["position_embedding_type"] == "absolute":
        shapes["embeddings.position_embeddings.weight"] = (config["max_position_embeddings"], size)
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{name}", size, size, shapes)
        norms.append(f"{layer}.attention.output.LayerNorm")
        if config["feed_forward_type"] == "original":
            linear(f"{layer}.intermediate.dense", inner, size, shapes)
            linear(f"{layer}.output.dense", size, inner, shapes)
            norms.append(f"{layer}.output.LayerNorm")
            continue
        up, down = ("up_gated_layer", "down_layer") if normed else ("gated_layers", "wo")
        linear(f"{layer}.mlp.{up}", 2 * inner, size, shapes, bias=False)
        linear(f"{layer}.mlp.{down}", size, inner, shapes)
        norms += (
            [f"{layer}.attention.self.layer_norm_{name}" for name in "qk"] + [f"{layer}.layer_norm_{i}" for i in (1, 2)]
            if normed
            else [f"{layer}.mlp.layernorm"]
        )
    return shapes | {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
