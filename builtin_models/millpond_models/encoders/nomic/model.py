"""NomicBertModel and its classifiers: BERT with rotary positions and gates (Nussbaum et al., 2024, arXiv 2402.01613).

Or with experts, which are those of nomic-embed-text-v2-moe (Nussbaum and Duderstadt, 2025, arXiv 2502.07972).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from millpond.context import Context
from millpond.nn.weight_loading import LoadedWeights
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
"""The names that BERT's config.json has for what Nomic's first files name as GPT-2's do."""

GATES: Mapping[str, str] = MappingProxyType({"swiglu": "silu", "geglu": "gelu"})
UNKNOWN = (
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
    """BERT's layers without most of the biases, with rotary positions, gates, and in some layers experts."""

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
        """Positions by rotation; ``rotary_scaling_factor`` stretches them for texts longer than the training's."""
        config = ctx.config
        factor = config.get("rotary_scaling_factor")
        own = factor is not None and not any(config.get(key) for key in ROPE_KEYS)
        return rotary_of(
            ctx,
            theta=config.get("rotary_emb_base", 1000.0),
            fraction=float(config.get("rotary_emb_fraction", 1.0)),
            options={"rope_type": "dynamic", "factor": factor} if own else None,
        )

    def build_attention(self, ctx: Context) -> SelfAttention:
        """The attention of a layer; ``qkv_proj_bias`` is of both maps."""
        config = ctx.config
        bias = bool(config.get("qkv_proj_bias", False))
        return SelfAttention(
            ctx, size=config.hidden_size, num_heads=config.num_attention_heads, head_dim=head_dim_of(ctx), bias=bias
        )

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:
        """The feed-forward half of a layer: of ``moe_every_n_layers``, the second has experts."""
        config = ctx.config
        sizes = {"size": config.hidden_size, "inner_size": config.intermediate_size}
        # Files of transformers name the activation of the gate alone.
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
        """Give the parameters their values, each expert its share of tensors that hold those of all."""
        return super().load_weights(one_by_one(weights, self.ctx.config.get("num_experts") or 0))


class NomicBertForSequenceClassification(TanhClassifier, NomicBertModel):
    """Nomic's BERT, then the pooler of BERT's training, ``tanh(dense(x))``, then a linear classifier."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *NomicBertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"cls\..*",)


class NomicBertForTokenClassification(Classifier, NomicBertModel):
    """Nomic's BERT with a linear classifier of each token."""


def as_bert(config: CheckpointConfig) -> CheckpointConfig:
    """The same by the names of BERT's config.json.

    Raises:
        CheckpointError: If it asks for what is not known here.
    """
    for key in UNKNOWN:
        if config.get(key) not in (None, False):
            message = f"config.json asks for {key} {config[key]!r}, which NomicBertModel does not know"
            raise CheckpointError(message)
    values: dict[str, Any] = config.to_dict()
    for name, aliases in ALIASES.items():
        said = [values[alias] for alias in (*aliases, name) if values.get(alias) is not None]
        if said:
            values[name] = said[0]
    return CheckpointConfig(values)


def one_by_one(weights: Iterable[tuple[str, Tensor]], count: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, those that hold the weights of all experts as one for each.

    Args:
        weights: The tensors by their names in the checkpoint; the second maps of all experts are kept transposed.
        count: The number of experts.

    Raises:
        CheckpointError: If a tensor cannot be shared evenly among them.
    """
    for name, tensor in weights:
        match = FUSED_EXPERTS.fullmatch(name)
        if match is None:
            yield name, tensor
            continue
        if count < 1 or len(tensor) % count:
            message = f"the {len(tensor)} rows of {name} cannot be shared among num_experts {count}"
            raise CheckpointError(message)
        experts, part = match.groups()
        for number, own in enumerate(tensor.chunk(count)):
            yield f"{experts}.{number}.{part}", own if part == "w1" else own.T
