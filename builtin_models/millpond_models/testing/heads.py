"""Tensor shapes of small models with a head: those of the backbone with a prefix, and those of the head."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from millpond.testing.checkpoints import Shape

SEQUENCE, TOKEN = "ForSequenceClassification", "ForTokenClassification"
MASKED = "ForMaskedLM"
PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "Bert": "bert.",
        "Ernie": "ernie.",
        "Roberta": "roberta.",
        "XLMRoberta": "roberta.",
        "Camembert": "roberta.",
        "JinaEmbeddingsV3": "roberta.",
    }
)
"""Prefixes of backbones in the files of classifiers; others have ``model.``, GPT-2 has ``transformer.``."""


MASKED_NAMES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "bert.": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
        "roberta.": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    }
)
"""The dense layer, the norm and the bias of the masked language modelling head, by the prefix of the backbone."""


ROTARY_PREFIXES: Mapping[str, str] = MappingProxyType(
    {"ModernBert": "model.", "New": "", "GteNew": "", "Gte": "gte.", "NomicBert": "bert."}
)
"""Prefixes of encoders with rotary embeddings; the names of GTE's backbone already include theirs."""


def split_head(architecture: str) -> tuple[str, str]:
    """Split the name of an architecture into family and head; the head is "" for a backbone or an unknown head.

    ``BertForSequenceClassification`` becomes ``("Bert", "ForSequenceClassification")``.
    """
    head = next((head for head in (SEQUENCE, TOKEN, MASKED) if architecture.endswith(head)), "")
    return architecture.removesuffix(head) if head else architecture, head


def label_names(num_labels: int) -> dict[str, Any]:
    """Return the keys of config.json for a number of classes."""
    names = [f"LABEL_{number}" for number in range(num_labels)]
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}


def with_head(architecture: str, config: Mapping[str, Any], backbone: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the tensor shapes of a model with a head, from those of its backbone without a prefix.

    Names are those of transformers. The decoder of a masked language model is tied to the word embeddings.
    """
    family, head = split_head(architecture)
    if family in ROTARY_PREFIXES:
        return _with_rotary_head(family, head, config, backbone)
    prefix = PREFIXES.get(family, "transformer." if family == "GPT2" else "model.")
    shapes = {f"{prefix}{name}": shape for name, shape in backbone.items()}
    size, labels = config.get("hidden_size") or config["n_embd"], len(config.get("id2label") or (0, 1))
    if head == MASKED:
        dense, norm, bias = MASKED_NAMES[prefix]
        linear(dense, size, size, shapes)
        shapes |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,), bias: (config["vocab_size"],)}
    elif family not in PREFIXES:
        linear("score", labels, size, shapes, bias=head == TOKEN)
    elif head == TOKEN:
        linear("classifier", labels, size, shapes)
    elif family in ("Bert", "Ernie"):
        linear(f"{prefix}pooler.dense", size, size, shapes)
        linear("classifier", labels, size, shapes)
    else:
        linear("classifier.dense", size, size, shapes)
        linear("classifier.out_proj", labels, size, shapes)
    return shapes


def _with_rotary_head(
    family: str, head: str, config: Mapping[str, Any], backbone: Mapping[str, Shape]
) -> dict[str, Shape]:
    shapes = {f"{ROTARY_PREFIXES[family]}{name}": shape for name, shape in backbone.items()}
    size, labels = config.get("hidden_size") or config["n_embd"], len(config.get("id2label") or (0, 1))
    if family == "ModernBert":
        linear("head.dense", size, size, shapes, bias=config["classifier_bias"])
        shapes |= {
            f"head.norm.{part}": (size,) for part in ("weight", "bias") if part == "weight" or config["norm_bias"]
        }
    elif head == SEQUENCE:
        linear(f"{ROTARY_PREFIXES[family] or 'new.'}pooler.dense", size, size, shapes)
    linear("classifier", labels, size, shapes)
    return shapes


def linear(name: str, width: int, size: int, shapes: dict[str, Shape], *, bias: bool = True) -> None:
    """Add the tensors of a linear layer to the shapes."""
    shapes[f"{name}.weight"] = (width, size)
    if bias:
        shapes[f"{name}.bias"] = (width,)
