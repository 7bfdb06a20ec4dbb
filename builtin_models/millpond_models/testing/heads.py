"""The tensors of small models with a head: those of the backbone, by their names in such files, and the head's."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Shape = tuple[int, ...]

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
"""What stands before the names of a backbone in a classifier's files; else ``model.``, of GPT-2 ``transformer.``."""


MASKED_NAMES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "bert.": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
        "roberta.": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    }
)
"""The dense map, the norm and the bias of the head for masked tokens, by the prefix of the backbone."""


ROTARY_PREFIXES: Mapping[str, str] = MappingProxyType(
    {"ModernBert": "model.", "New": "", "GteNew": "", "Gte": "gte.", "NomicBert": "bert."}
)
"""The same of encoders with rotary positions; the names of GTE's backbone have theirs anyhow."""


def split_head(architecture: str) -> tuple[str, str]:
    """The family of an architecture, and what its name says of the head; "" for a backbone or one not known here.

    ``("Bert", "ForSequenceClassification")`` of ``BertForSequenceClassification``.
    """
    head = next((head for head in (SEQUENCE, TOKEN, MASKED) if architecture.endswith(head)), "")
    return architecture.removesuffix(head) if head else architecture, head


def label_names(num_labels: int) -> dict[str, Any]:
    """What config.json says of so many classes."""
    names = [f"LABEL_{number}" for number in range(num_labels)]
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}


def with_head(architecture: str, config: Mapping[str, Any], backbone: Mapping[str, Shape]) -> dict[str, Shape]:
    """The tensors of a model with a head by their names in transformers, from those of its backbone without a prefix.

    The head of a masked language model has no table of its own: that of the embeddings serves it.
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
    """Add the tensors of a linear map to those there are."""
    shapes[f"{name}.weight"] = (width, size)
    if bias:
        shapes[f"{name}.bias"] = (width,)
