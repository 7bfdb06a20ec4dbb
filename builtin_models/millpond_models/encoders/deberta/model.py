"""DebertaV2Model: post-norm layers with disentangled attention (He et al., 2021, arXiv 2111.09543; 2006.03654)."""

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
from millpond_models.encoders.deberta.attention import (
    DisentangledAttention,
    RelativeEmbeddings,
    RelativePositions,
    RelativeRows,
)
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.embeddings import Embedding, TokenEmbedding
from millpond_models.layers.feed_forward import FeedForward
from millpond_models.layers.norm import LayerNorm, ResidualLayerNorm

POSITION_TERMS = frozenset(("c2p", "p2c"))


class DebertaV2Model(PoolingModel):
    """DeBERTa v2 and v3."""

    weight_prefixes = ("deberta.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *BertModel.weight_names,
        (r"embeddings\.embed_proj\.weight", r"embeddings.projection.weight"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.query_proj\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.key_proj\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.value_proj\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.pos_key_proj\.(\w+)", r"layers.\1.attention.position_key.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.pos_query_proj\.(\w+)", r"layers.\1.attention.position_query.\2"),
        (r"encoder\.rel_embeddings\.weight", r"relative_embeddings.weight"),
        (r"encoder\.LayerNorm\.(\w+)", r"relative_embeddings_norm.\1"),
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
        self.relative_positions = relative_positions(ctx)
        self.embeddings = DebertaEmbeddings(ctx)
        rows = None if self.relative_positions is None else 2 * self.relative_positions.span
        self.relative_embeddings = None if rows is None else Embedding(rows, size)
        norms = [name.strip() for name in str(config.get("norm_rel_ebd", "none")).lower().split("|")]
        self.relative_embeddings_norm = LayerNorm(size, eps) if "layer_norm" in norms else None
        self.layers = nn.ModuleList(DebertaLayer(ctx) for _ in range(config.num_hidden_layers))
        self.convolution = Convolution(ctx) if config.get("conv_kernel_size", 0) > 0 else None

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        rows = None if self.relative_positions is None else RelativeRows(self.relative_positions, batch)
        embedded: Tensor = self.embeddings(batch)
        hidden_states = embedded
        for number, (layer, relative) in enumerate(zip(self.layers, self.projected_embeddings, strict=True)):
            hidden_states = layer(hidden_states, batch, relative, rows)
            if number == 0 and self.convolution is not None:
                hidden_states = self.convolution(
                    embedded, hidden_states, batch, one_by_one=self.ctx.compute.batch_invariant
                )
        return hidden_states

    @cached_property
    def projected_embeddings(self) -> list[RelativeEmbeddings | None]:
        """The relative embeddings projected by each layer; computed once, after the weights are loaded."""
        relative = None if self.relative_embeddings is None else self.relative_embeddings.weight
        if relative is not None and self.relative_embeddings_norm is not None:
            relative = self.relative_embeddings_norm(relative)
        attentions = [layer.get_submodule("attention") for layer in self.layers]
        return [module.project(relative) for module in attentions if isinstance(module, DisentangledAttention)]

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name; None for position embeddings that the model does not use."""
        target = super().parameter_name(name)
        is_position = target == "embeddings.position_embeddings.weight"
        return None if is_position and self.embeddings.position_embeddings is None else target


class DebertaEmbeddings(nn.Module):
    """Word, position and token type embeddings, projected to the hidden size if theirs differs."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        size = config.get("embedding_size") or config.hidden_size
        absolute = config.get("position_biased_input", True)
        self.word_embeddings = TokenEmbedding(ctx, config.vocab_size, size)
        self.position_embeddings = Embedding(config.max_position_embeddings, size) if absolute else None
        self.token_type_embeddings = (
            Embedding(config.type_vocab_size, size) if config.get("type_vocab_size", 0) else None
        )
        projected = size != config.hidden_size
        self.projection = Linear(ctx, size, config.hidden_size, bias=False) if projected else None
        self.norm = LayerNorm(config.hidden_size, norm_eps(ctx))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, size]."""
        embeddings: Tensor = self.word_embeddings(batch.input_ids)
        if self.position_embeddings is not None:
            embeddings = embeddings + self.position_embeddings(batch.positions)
        if self.token_type_embeddings is not None:
            types = batch.token_type_ids
            embeddings = embeddings + (
                self.token_type_embeddings.weight[0] if types is None else self.token_type_embeddings(types)
            )
        embedded: Tensor = self.norm(embeddings if self.projection is None else self.projection(embeddings))
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
            position_terms=position_terms(ctx),
            share_projections=bool(config.get("share_att_key", False)),
            relative_attention=bool(config.get("relative_attention", False)),
        )
        self.attention_norm = ResidualLayerNorm(ctx, size, eps)
        activation = config.get("hidden_act", "gelu")
        self.feed_forward = FeedForward(ctx, size=size, inner_size=config.intermediate_size, activation=activation)
        self.feed_forward_norm = ResidualLayerNorm(ctx, size, eps)

    def forward(
        self, hidden_states: Tensor, batch: PackedBatch, relative: RelativeEmbeddings | None, rows: RelativeRows | None
    ) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        attended = self.attention(hidden_states, batch, relative, rows)
        hidden_states = self.attention_norm(attended, self.attention.output.bias, hidden_states)
        normed: Tensor = self.feed_forward_norm(
            self.feed_forward(hidden_states), self.feed_forward.last_bias, hidden_states
        )
        return normed


class Convolution(nn.Module):
    """The convolution parallel to the first layer: ``norm(x + activation(convolution(embedded)))``."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        size, width, groups = config.hidden_size, config.conv_kernel_size, config.get("conv_groups", 1)
        if width % 2 == 0 or size % groups:
            message = f"config.json: conv_kernel_size {width} must be odd, and conv_groups {groups} must divide {size}"
            raise CheckpointError(message)
        self.weight = nn.Parameter(torch.empty(size, size // groups, width), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False)
        self.groups = groups
        self.activation = hidden_activation(ctx, config.get("conv_act", "tanh"))
        self.norm = LayerNorm(size, norm_eps(ctx))

    def forward(self, embedded: Tensor, hidden_states: Tensor, batch: PackedBatch, *, one_by_one: bool) -> Tensor:
        """[num_tokens, size] twice -> [num_tokens, size]."""
        output = torch.empty_like(hidden_states)
        for group in batch.equal_length_groups:
            count = 1 if one_by_one else group.count
            for start in range(group.start, group.stop, count * group.length):
                span = slice(start, start + count * group.length)
                sequences = embedded[span].unflatten(0, (count, group.length)).transpose(1, 2)
                width = self.weight.shape[-1] // 2
                convolved = functional.conv1d(sequences, self.weight, self.bias, padding=width, groups=self.groups)
                output[span] = convolved.transpose(1, 2).flatten(0, 1)
        normed: Tensor = self.norm(hidden_states + self.activation(output))
        return normed


def norm_eps(ctx: Context) -> float:
    """Return the epsilon of LayerNorm."""
    return float(ctx.config.get("layer_norm_eps", 1e-7))


def position_terms(ctx: Context) -> frozenset[str]:
    """Return ``pos_att_type`` of config.json: a list, or names separated by bars.

    Raises:
        CheckpointError: If a name is unknown.
    """
    stated = ctx.config.get("pos_att_type") or ()
    terms = frozenset(name.strip() for name in (stated.lower().split("|") if isinstance(stated, str) else stated))
    if terms - POSITION_TERMS:
        message = f"config.json: unknown pos_att_type {stated!r}. Available: {', '.join(sorted(POSITION_TERMS))}"
        raise CheckpointError(message)
    return terms


def relative_positions(ctx: Context) -> RelativePositions | None:
    """Return the mapping of distances to relative embeddings; None for a model without relative attention."""
    config = ctx.config
    if not config.get("relative_attention", False):
        return None
    stated = config.get("max_relative_positions", -1)
    return RelativePositions(
        max_distance=stated if stated >= 1 else config.max_position_embeddings,
        buckets=config.get("position_buckets", -1),
    )
