"""TileSegmenter: a vision transformer with one layer that computes class scores for the pixels of each patch."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from millpond.context import Context
from millpond.nn import Attention, Linear, PackedBatch, PoolingModel, WeightTransform


class TileSegmenter(PoolingModel):
    """A small vision transformer that reads ``features``; there is one placeholder token id per patch.

    The features of a request are ``pixels`` [num_patches, bands * patch_size ** 2] and ``positions`` [num_patches, 2],
    the row and the column of each patch.
    """

    # In the checkpoint, the patch embedding is a convolution: [hidden, bands, patch_size, patch_size].
    weight_transforms = (
        WeightTransform(sources=(r"patch_embed\.weight",), compute=lambda _, tensor: tensor.flatten(1)),
    )
    weight_names: ClassVar = (
        (r"patch_embed\.(\w+)", r"patches.\1"),
        (r"attention\.query\.(\w+)", r"qkv.\1@0"),
        (r"attention\.key\.(\w+)", r"qkv.\1@1"),
        (r"attention\.value\.(\w+)", r"qkv.\1@2"),
        (r"attention\.output\.(\w+)", r"attended.\1"),
        (r"decode_head\.(\w+)", r"poolers.plugin.head.\1"),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.patches = Linear(ctx, config.num_bands * config.patch_size**2, size)
        self.rows, self.columns = nn.Embedding(config.max_patches, size), nn.Embedding(config.max_patches, size)
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = Linear(ctx, size, size, size, size)
        self.attention = Attention(ctx, head_dim=size // self.num_heads)
        self.attended = Linear(ctx, size, size)
        self.mlp_norm = nn.LayerNorm(size)
        self.up, self.down = Linear(ctx, size, 2 * size), Linear(ctx, 2 * size, size)
        self.norm = nn.LayerNorm(size)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Return a pooler that applies the head to each patch: [num_patches, num_classes * patch_size ** 2]."""
        config = ctx.config
        head = Linear(ctx.for_head(), config.hidden_size, config.num_classes * config.patch_size**2)
        return ctx.pooler(task, head=head)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states of the patches: [num_tokens, hidden]."""
        pixels = self._gather(batch, "pixels").to(self.ctx.dtype)
        rows, columns = self._gather(batch, "positions").long().unbind(1)
        x: Tensor = self.patches(pixels) + self.rows(rows) + self.columns(columns)
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        x = x + self.attended(self.attention(*qkv.unbind(1), batch))
        x = x + self.down(gelu(self.up(self.mlp_norm(x))))
        normed: Tensor = self.norm(x)
        return normed

    def _gather(self, batch: PackedBatch, name: str) -> Tensor:
        """Return a feature of all sequences, concatenated, on the device of the model."""
        arrays: list[Any] = [features[name] for features in batch.features]
        return torch.cat([torch.from_numpy(array) for array in arrays]).to(batch.input_ids.device)
