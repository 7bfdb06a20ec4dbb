"""ModernBertModel: gated pre-norm layers with alternating attention (Warner et al., 2024, arXiv 2412.13663)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.encoders.rotary_bert import rotary_of
from millpond_models.layers.decoder import DecoderLayer, Heads, RotaryAttention
from millpond_models.layers.embeddings import TokenEmbedding
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.layer_types import FULL, SLIDING, read_layer_types
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.rotary import Rotary

GLOBAL_THETA, LOCAL_THETA = 160_000.0, 10_000.0


class ModernBertModel(PoolingModel):
    """Layers with full attention and layers with a sliding window; each type has its own rotary embedding."""

    weight_prefixes = ("model.",)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"embeddings\.tok_embeddings\.weight", r"tok_embeddings.weight"),
        (r"embeddings\.norm\.(weight|bias)", r"embeddings_norm.\1"),
        (r"layers\.(\d+)\.attn_norm\.(weight|bias)", r"layers.\1.attention_norm.\2"),
        (r"layers\.(\d+)\.attn\.Wqkv\.(weight|bias)", r"layers.\1.attention.qkv.\2"),
        (r"layers\.(\d+)\.attn\.Wo\.(weight|bias)", r"layers.\1.attention.output.\2"),
        (r"layers\.(\d+)\.mlp_norm\.(weight|bias)", r"layers.\1.feed_forward_norm.\2"),
        (r"layers\.(\d+)\.mlp\.Wi\.(weight|bias)", r"layers.\1.feed_forward.gate_up.\2"),
        (r"layers\.(\d+)\.mlp\.Wo\.(weight|bias)", r"layers.\1.feed_forward.down.\2"),
        (r"final_norm\.(weight|bias)", r"norm.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"head\..*", r"decoder\..*", r"classifier\..*")

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        self.layer_types = read_layer_types(ctx, every=config.get("global_attn_every_n_layers", 3), first=0)
        self.tok_embeddings = TokenEmbedding(ctx, config.vocab_size, config.hidden_size)
        self.embeddings_norm = build_norm(ctx)
        self.rotary = nn.ModuleDict(
            {layer_type: build_rotary(ctx, layer_type) for layer_type in dict.fromkeys(self.layer_types)}
        )
        self.layers = nn.ModuleList(
            build_layer(ctx, layer, layer_type) for layer, layer_type in enumerate(self.layer_types)
        )
        self.norm = build_norm(ctx)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        rotations = {layer_type: rotary(batch) for layer_type, rotary in self.rotary.items()}
        hidden_states: Tensor = self.embeddings_norm(self.tok_embeddings(batch.input_ids))
        for layer, layer_type in zip(self.layers, self.layer_types, strict=True):
            hidden_states = layer(hidden_states, rotations[layer_type], batch)
        normed: Tensor = self.norm(hidden_states)
        return normed


def build_rotary(ctx: Context, layer_type: str) -> Rotary:
    """Build the rotary embedding of a layer type, from ``rope_parameters`` or the older keys of its base."""
    config = ctx.config
    base = config.get("global_rope_theta", GLOBAL_THETA)
    theta = base if layer_type == FULL else config.get("local_rope_theta", LOCAL_THETA) or base
    options: dict[str, Any] = {
        **((config.get("rope_parameters") or {}).get(layer_type) or {}),
        **(config.get("rope_scaling") or {}),
    }
    return rotary_of(ctx, theta=theta, options=options)


def build_layer(ctx: Context, layer: int, layer_type: str) -> DecoderLayer:
    """Build a layer; the first has no attention norm, because the embeddings are already normalized."""
    config = ctx.config
    size, heads, bias = config.hidden_size, config.num_attention_heads, bool(config.get("attention_bias", False))
    return DecoderLayer(
        attention_norm=build_norm(ctx) if layer else nn.Identity(),
        attention=RotaryAttention(
            ctx,
            size=size,
            heads=Heads(num_query_heads=heads, num_kv_heads=heads, head_dim=head_dim(size, heads)),
            causal=False,
            window=window(ctx) if layer_type == SLIDING else None,
            bias=bias,
            output_bias=bias,
        ),
        feed_forward_norm=build_norm(ctx),
        feed_forward=GatedFeedForward(
            ctx,
            size=size,
            inner_size=config.intermediate_size,
            activation=config.get("hidden_activation", "gelu"),
            bias=bool(config.get("mlp_bias", False)),
        ),
    )


def window(ctx: Context) -> int:
    """Return the number of tokens attended to on each side: half of ``local_attention``.

    Raises:
        CheckpointError: If it is not a positive integer.
    """
    width = ctx.config.get("local_attention", 128)
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        message = f"config.json: local_attention must be a positive number of tokens; got {width!r}"
        raise CheckpointError(message)
    return width // 2


def build_norm(ctx: Context) -> LayerNorm:
    """Build a norm of hidden states."""
    return LayerNorm(ctx.config.hidden_size, norm_eps(ctx), bias=norm_bias(ctx))


def norm_eps(ctx: Context) -> float:
    """Return the epsilon of LayerNorm."""
    return float(ctx.config.get("norm_eps", 1e-5))


def norm_bias(ctx: Context) -> bool:
    """Return True if norms have a bias."""
    return bool(ctx.config.get("norm_bias", False))
