"""DebertaV2Model: post-norm layers whose attention knows distances (He et al., 2021, arXiv 2111.09543; 2006.03654)."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel
from millpond_models.encoders.deberta.attention import DisentangledAttention, Distances, PositionTables, Rows
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.embeddings import Table
from millpond_models.layers.feed_forward import FeedForward
from millpond_models.layers.norm import LayerNorm, ResidualLayerNorm

KINDS = frozenset(("c2p", "p2c"))


class DebertaV2Model(PoolingModel):
    """DeBERTa, its second and third version."""

    weight_prefixes = ("deberta.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *BertModel.weight_names,
        (r"embeddings\.embed_proj\.weight", r"embeddings.map.weight"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.query_proj\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.key_proj\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.value_proj\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.pos_key_proj\.(\w+)", r"layers.\1.attention.position_key.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.pos_query_proj\.(\w+)", r"layers.\1.attention.position_query.\2"),
        (r"encoder\.rel_embeddings\.weight", r"relative.weight"),
        (r"encoder\.LayerNorm\.(\w+)", r"relative_norm.\1"),
        (r"encoder\.conv\.conv\.(\w+)", r"convolution.\1"),
        (r"encoder\.conv\.LayerNorm\.(\w+)", r"convolution.norm.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (
        r"embeddings\.position_ids",
        r"(?:pooler|cls|lm_head|lm_predictions|mask_predictions)\..*",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        size, eps = config.hidden_size, norm_eps(ctx)
        self.distances = distances(ctx)
        self.embeddings = DebertaEmbeddings(ctx)
        self.relative = None if self.distances is None else Table(2 * self.distances.span, size)
        normed = "layer_norm" in [word.strip() for word in str(config.get("norm_rel_ebd", "none")).lower().split("|")]
        self.relative_norm = LayerNorm(size, eps) if normed else None
        self.layers = nn.ModuleList(DebertaLayer(ctx) for _ in range(config.num_hidden_layers))
        self.convolution = Convolution(ctx) if config.get("conv_kernel_size", 0) > 0 else None

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        rows = None if self.distances is None else Rows(self.distances, batch)
        embedded: Tensor = self.embeddings(batch)
        x = embedded
        for number, (layer, tables) in enumerate(zip(self.layers, self.tables, strict=True)):
            x = layer(x, batch, tables, rows)
            if number == 0 and self.convolution is not None:
                x = self.convolution(embedded, x, batch, one_by_one=self.ctx.batch_invariant)
        return x

    @cached_property
    def tables(self) -> list[PositionTables | None]:
        """The table of distances as each layer maps it; made when the weights are there, and then kept."""
        relative = None if self.relative is None else self.relative.weight
        if relative is not None and self.relative_norm is not None:
            relative = self.relative_norm(relative)
        attentions = [layer.get_submodule("attention") for layer in self.layers]
        return [one.tables(relative) for one in attentions if isinstance(one, DisentangledAttention)]

    def parameter_name(self, name: str) -> str | None:
        """As the names say; a table of positions that config.json has no use for is left out."""
        target = super().parameter_name(name)
        return None if target == "embeddings.positions.weight" and self.embeddings.positions is None else target


class DebertaEmbeddings(nn.Module):
    """Word vectors, with those of positions and segments where there are any, mapped if they are of another size."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        own = config.get("embedding_size") or config.hidden_size
        biased = config.get("position_biased_input", True)
        self.words = Table(config.vocab_size, own)
        self.positions = Table(config.max_position_embeddings, own) if biased else None
        self.segments = Table(config.type_vocab_size, own) if config.get("type_vocab_size", 0) else None
        self.map = None if own == config.hidden_size else Linear(ctx, own, config.hidden_size, bias=False)
        self.norm = LayerNorm(config.hidden_size, norm_eps(ctx))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, size]."""
        x: Tensor = self.words(batch.input_ids)
        if self.positions is not None:
            x = x + self.positions(batch.positions)
        if self.segments is not None:
            types = batch.token_type_ids
            x = x + (self.segments.weight[0] if types is None else self.segments(types))
        embedded: Tensor = self.norm(x if self.map is None else self.map(x))
        return embedded


class DebertaLayer(nn.Module):
    """``x = norm(x + attention(x)); x = norm(x + feed_forward(x))``."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        size, eps = config.hidden_size, norm_eps(ctx)
        self.attention = DisentangledAttention(
            ctx,
            size=size,
            num_heads=config.num_attention_heads,
            kinds=position_kinds(ctx),
            shared=bool(config.get("share_att_key", False)),
            distant=bool(config.get("relative_attention", False)),
        )
        self.attention_norm = ResidualLayerNorm(ctx, size, eps)
        activation = config.get("hidden_act", "gelu")
        self.feed_forward = FeedForward(ctx, size=size, inner_size=config.intermediate_size, activation=activation)
        self.feed_forward_norm = ResidualLayerNorm(ctx, size, eps)

    def forward(self, x: Tensor, batch: PackedBatch, tables: PositionTables | None, rows: Rows | None) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        attended = self.attention(x, batch, tables, rows)
        x = self.attention_norm(attended, self.attention.output.bias, x)
        normed: Tensor = self.feed_forward_norm(self.feed_forward(x), self.feed_forward.last_bias, x)
        return normed


class Convolution(nn.Module):
    """What neighbours say, beside the first layer: ``norm(x + activation(convolution(embedded)))``."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        size, width, groups = config.hidden_size, config.conv_kernel_size, config.get("conv_groups", 1)
        if width % 2 == 0 or size % groups:
            message = f"config.json: conv_kernel_size {width} must be odd, and conv_groups {groups} share {size} evenly"
            raise CheckpointError(message)
        self.weight = nn.Parameter(torch.empty(size, size // groups, width), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False)
        self.groups = groups
        self.activation = hidden_activation(ctx, config.get("conv_act", "tanh"))
        self.norm = LayerNorm(size, norm_eps(ctx))

    def forward(self, embedded: Tensor, x: Tensor, batch: PackedBatch, *, one_by_one: bool) -> Tensor:
        """[num_tokens, size] twice -> [num_tokens, size]."""
        found = torch.empty_like(x)
        for group in batch.equal_length_groups:
            count = 1 if one_by_one else group.count
            for start in range(group.start, group.stop, count * group.length):
                own = slice(start, start + count * group.length)
                rows = embedded[own].unflatten(0, (count, group.length)).transpose(1, 2)
                width = self.weight.shape[-1] // 2
                convolved = functional.conv1d(rows, self.weight, self.bias, padding=width, groups=self.groups)
                found[own] = convolved.transpose(1, 2).flatten(0, 1)
        normed: Tensor = self.norm(x + self.activation(found))
        return normed


def norm_eps(ctx: Context) -> float:
    """What norms add to the variance."""
    return float(ctx.config.get("layer_norm_eps", 1e-7))


def position_kinds(ctx: Context) -> frozenset[str]:
    """Whose distances count: ``pos_att_type``, a list or words between bars.

    Raises:
        CheckpointError: If it names one that is not known.
    """
    said = ctx.config.get("pos_att_type") or ()
    kinds = frozenset(word.strip() for word in (said.lower().split("|") if isinstance(said, str) else said))
    if kinds - KINDS:
        message = f"config.json asks for pos_att_type {said!r}; known are {', '.join(sorted(KINDS))}"
        raise CheckpointError(message)
    return kinds


def distances(ctx: Context) -> Distances | None:
    """How distances are told apart; None where config.json has no use for them."""
    config = ctx.config
    if not config.get("relative_attention", False):
        return None
    longest = config.get("max_relative_positions", -1)
    return Distances(
        longest=longest if longest >= 1 else config.max_position_embeddings, buckets=config.get("position_buckets", -1)
    )
