"""NomicBertModel and its classifiers: BERT with rotary embeddings and GLU (Nussbaum et al., 2024, arXiv 2402.01613).

nomic-embed-text-v2-moe has a mixture of experts in some layers (Nussbaum and Duderstadt, 2025, arXiv 2502.07972).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from millpond.context import Context
from millpond.nn import LoadedWeights
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel
from millpond_models.encoders.flash_names import FLASH_NAMES
from millpond_models.encoders.nomic.experts import Experts
from millpond_models.encoders.rotary_bert import ROPE_KEYS, head_dim_of, rotary_of
from millpond_models.encoders.transformers_names import TRANSFORMERS_NAMES
from millpond_models.heads.classifier import Classifier, TanhClassifier
from millpond_models.layers.encoder import FeedForwardProtocol, SelfAttention
from millpond_models.layers.feed_forward import FeedForward
from millpond_models.layers.gated_encoder import GatedEncoderFeedForward
from millpond_models.layers.rotary import Rotary

ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hidden_size": ("n_embd",),
        "num_hidden_layers": ("n_layer",),
        "num_attention_heads": ("n_head",),
        "intermediate_size": ("n_inner",),
        "layer_norm_eps": ("layer_norm_epsilon",),
        "max_position_embeddings": ("max_trained_positions", "n_positions"),
    }
)
"""BERT's keys of config.json, with GPT-2's keys that Nomic's first files use."""

GATES: Mapping[str, str] = MappingProxyType({"swiglu": "silu", "geglu": "gelu"})
UNSUPPORTED_KEYS = (
    "causal",
    "expert_choice_router",
    "moe_normalize_expert_weights",
    "num_shared_experts",
    "parallel_block",
    "prenorm",
    "rotary_emb_interleaved",
    "rotary_emb_scale_base",
    "use_rms_norm",
)
FUSED_EXPERTS = re.compile(r"(.*\.mlp\.experts)\.mlp\.(w[12])")


class NomicBertModel(BertModel):
    """BERT's layers with rotary embeddings, gates, few biases, and experts in some layers."""

    weight_prefixes = ("nomic_bert.", *BertModel.weight_prefixes)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *BertModel.weight_names,
        *FLASH_NAMES,
        *TRANSFORMERS_NAMES,
        (r"encoder\.layers\.(\d+)\.mlp\.fc12\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@0"),
        (r"encoder\.layers\.(\d+)\.mlp\.fc11\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@1"),
        (r"encoder\.layers\.(\d+)\.mlp\.router\.layer\.weight", r"layers.\1.feed_forward.router.weight"),
        (r"encoder\.layers\.(\d+)\.mlp\.experts\.bias", r"layers.\1.feed_forward.bias"),
        (r"encoder\.layers\.(\d+)\.mlp\.experts\.(\d+)\.w1", r"layers.\1.feed_forward.experts.\2.up.weight"),
        (r"encoder\.layers\.(\d+)\.mlp\.experts\.(\d+)\.w2", r"layers.\1.feed_forward.experts.\2.down.weight"),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(replace(ctx, config=as_bert(ctx.config)))

    def build_rotary(self, ctx: Context) -> Rotary:
        """Build the rotary embedding; ``rotary_scaling_factor`` scales it dynamically for long texts."""
        config = ctx.config
        factor = config.get("rotary_scaling_factor")
        dynamic = factor is not None and not any(config.get(key) for key in ROPE_KEYS)
        return rotary_of(
            ctx,
            theta=config.get("rotary_emb_base", 1000.0),
            fraction=float(config.get("rotary_emb_fraction", 1.0)),
            options={"rope_type": "dynamic", "factor": factor} if dynamic else None,
        )

    def build_attention(self, ctx: Context) -> SelfAttention:
        """Build the attention of a layer; ``qkv_proj_bias`` applies to all projections."""
        config = ctx.config
        bias = bool(config.get("qkv_proj_bias", False))
        return SelfAttention(
            ctx, size=config.hidden_size, num_heads=config.num_attention_heads, head_dim=head_dim_of(ctx), bias=bias
        )

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:
        """Build the feed-forward network of a layer: experts in the second of every ``moe_every_n_layers`` layers."""
        config = ctx.config
        sizes = {"size": config.hidden_size, "inner_size": config.intermediate_size}
        # config.json of transformers names only the activation of the gate.
        activation = config.get("activation_function") or f"gated {config.get('hidden_act', 'silu')}"
        every = config.get("moe_every_n_layers") or 0
        if every and layer % every == 1:
            return Experts(ctx, count=config.num_experts, top=config.moe_top_k, activation=activation, **sizes)
        first, second = (bool(config.get(f"mlp_fc{i}_bias", False)) for i in (1, 2))
        gate = activation.removeprefix("gated ") if activation.startswith("gated ") else GATES.get(activation)
        if gate is not None:
            return GatedEncoderFeedForward(ctx, activation=gate, bias=first, down_bias=second, **sizes)
        return FeedForward(ctx, activation=activation, bias=first, down_bias=second, **sizes)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters, splitting the tensors that stack all experts."""
        return super().load_weights(split_experts(weights, self.ctx.config.get("num_experts") or 0))


class NomicBertForSequenceClassification(TanhClassifier, NomicBertModel):
    """Nomic's BERT with BERT's pretraining pooler, ``tanh(dense(x))``, and a linear classifier."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *NomicBertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"cls\..*",)


class NomicBertForTokenClassification(Classifier, NomicBertModel):
    """Nomic's BERT with a linear classifier of each token."""


def as_bert(config: CheckpointConfig) -> CheckpointConfig:
    """Return the config with BERT's keys.

    Raises:
        CheckpointError: If it requests unsupported settings.
    """
    for key in UNSUPPORTED_KEYS:
        if config.get(key) not in (None, False):
            message = f"config.json: unsupported {key} {config[key]!r} for NomicBertModel"
            raise CheckpointError(message)
    values: dict[str, Any] = config.to_dict()
    for name, aliases in ALIASES.items():
        key = next((key for key in (*aliases, name) if values.get(key) is not None), name)
        if key in values:
            values[name] = values[key]
    return CheckpointConfig(values)


def split_experts(weights: Iterable[tuple[str, Tensor]], count: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a checkpoint, with the stacked weights of all experts split into one tensor per expert.

    Args:
        weights: The tensors with their names in the checkpoint; stacked ``w2`` weights are transposed.
        count: Number of experts.

    Raises:
        CheckpointError: If a tensor cannot be split evenly.
    """
    for name, tensor in weights:
        match = FUSED_EXPERTS.fullmatch(name)
        if match is None:
            yield name, tensor
            continue
        if count < 1 or len(tensor) % count:
            message = f"the {len(tensor)} rows of {name} are not divisible by num_experts {count}"
            raise CheckpointError(message)
        experts, part = match.groups()
        for number, weight in enumerate(tensor.chunk(count)):
            yield f"{experts}.{number}.{part}", weight if part == "w1" else weight.T
