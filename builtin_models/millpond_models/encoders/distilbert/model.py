"""DistilBertModel and its classifiers: BERT with half the layers (Sanh et al., 2019, arXiv 1910.01108)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

from torch import nn
from torch.nn import functional

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.dense import DenseHead

BERT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
    }
)
"""BERT's keys of config.json, with those of DistilBERT."""


class DistilBertModel(BertModel):
    """BERT's layers without token type embeddings, with different weight names."""

    weight_prefixes = ("distilbert.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *BertModel.weight_names,
        (r"transformer\.layer\.(\d+)\.attention\.q_lin\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"transformer\.layer\.(\d+)\.attention\.k_lin\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"transformer\.layer\.(\d+)\.attention\.v_lin\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"transformer\.layer\.(\d+)\.attention\.out_lin\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"transformer\.layer\.(\d+)\.sa_layer_norm\.(\w+)", r"layers.\1.attention_norm.\2"),
        (r"transformer\.layer\.(\d+)\.ffn\.lin1\.(\w+)", r"layers.\1.feed_forward.up.\2"),
        (r"transformer\.layer\.(\d+)\.ffn\.lin2\.(\w+)", r"layers.\1.feed_forward.down.\2"),
        (r"transformer\.layer\.(\d+)\.output_layer_norm\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
    )
    # The head for masked language modelling.
    ignored_weights: ClassVar[Sequence[str]] = (
        r"vocab_(?:transform|layer_norm|projector)\..*",
        r"embeddings\.position_ids",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(replace(ctx, config=as_bert(ctx.config)))


class DistilBertForSequenceClassification(Classifier, DistilBertModel):
    """DistilBERT, then ``classifier(relu(pre_classifier(x)))``, on the first token (``classify``) or every token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DistilBertModel.weight_names,
        (r"pre_classifier\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build both layers as one head."""
        size = ctx.config.hidden_size
        return DenseHead(ctx, size=size, num_labels=ctx.model.classification.num_labels, activation=functional.relu)


class DistilBertForTokenClassification(Classifier, DistilBertModel):
    """DistilBERT with a linear classifier of each token."""


def as_bert(config: CheckpointConfig) -> CheckpointConfig:
    """Return the config with BERT's keys."""
    values = {name: config[key] for name, key in BERT_KEYS.items() if config.get(key) is not None}
    return config.overridden({**values, "type_vocab_size": 0, "layer_norm_eps": 1e-12})
