"""GPT2Model: a pre-norm decoder with position embeddings (Radford et al., 2019)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel, WeightTransform
from millpond_models.layers.embeddings import Embedding, TokenEmbedding
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.pre_norm import FusedAttention, PlainFeedForward, PreNormLayer


class GPT2Model(PoolingModel):
    """GPT-2: hidden states after the final norm, without an LM head."""

    weight_prefixes = ("transformer.",)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"wte\.weight", r"token_embeddings.weight"),
        (r"wpe\.weight", r"position_embeddings.weight"),
        (r"h\.(\d+)\.ln_1\.(weight|bias)", r"layers.\1.attention_norm.\2"),
        (r"h\.(\d+)\.attn\.c_attn\.(weight|bias)", r"layers.\1.attention.qkv.\2"),
        (r"h\.(\d+)\.attn\.c_proj\.(weight|bias)", r"layers.\1.attention.output.\2"),
        (r"h\.(\d+)\.ln_2\.(weight|bias)", r"layers.\1.feed_forward_norm.\2"),
        (r"h\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"layers.\1.feed_forward.up.\2"),
        (r"h\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"layers.\1.feed_forward.down.\2"),
        (r"ln_f\.(weight|bias)", r"norm.\1"),
    )
    # GPT-2 stores linear layers as [in_features, out_features].
    weight_transforms = (WeightTransform.transpose(r"h\.\d+\.(?:attn|mlp)\.(?:c_attn|c_proj|c_fc)\.weight"),)
    # Old files contain the causal mask of attention.
    ignored_weights: ClassVar[Sequence[str]] = (r"lm_head\..*", r"score\..*", r"h\.\d+\.attn\.(?:masked_)?bias")

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        size, eps = config.n_embd, float(config.get("layer_norm_epsilon", 1e-5))
        self.token_embeddings = TokenEmbedding(ctx, config.vocab_size, size)
        self.position_embeddings = Embedding(config.n_positions, size)
        self.layers = nn.ModuleList(build_layer(ctx, layer, eps=eps) for layer in range(config.n_layer))
        self.norm = LayerNorm(size, eps)

    def shares_prefixes(self) -> bool:
        """Return True: attention is causal."""
        return True

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        hidden_states: Tensor = self.token_embeddings(batch.input_ids) + self.position_embeddings(batch.positions)
        for layer in self.layers:
            hidden_states = layer(hidden_states, batch)
        normed: Tensor = self.norm(hidden_states)
        return normed


def build_layer(ctx: Context, layer: int, *, eps: float) -> PreNormLayer:
    """Build a layer; attention scores may be divided by the number of the layer."""
    config = ctx.config
    size = config.n_embd
    scale = head_dim(size, config.n_head, keys=("n_embd", "n_head")) ** -0.5
    if not config.get("scale_attn_weights", True):
        scale = 1.0
    if config.get("scale_attn_by_inverse_layer_idx", False):
        scale /= layer + 1
    return PreNormLayer(
        size=size,
        eps=eps,
        attention=FusedAttention(ctx, size=size, heads=config.n_head, causal=True, scale=scale),
        feed_forward=PlainFeedForward(
            ctx,
            size=size,
            inner_size=config.get("n_inner") or 4 * size,
            activation=config.get("activation_function", "gelu_new"),
        ),
    )
