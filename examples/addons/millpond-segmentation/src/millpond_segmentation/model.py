"""PatchSegmenter: a transformer over the patches of a tile, and a convolution over their grid.

The checkpoint contains the parameters of a plain torch model, shown in the README of this package: ``nn.Conv2d``,
``nn.TransformerEncoder`` (pre-norm, GELU) and ``nn.Conv2d``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, unfold

from millpond.context import ModelContext
from millpond.nn import Attention, Linear, PackedBatch, PoolingModel, WeightTransform

KERNEL_SIZE = 3  # height and width of the convolution


def _flattened(name: str) -> WeightTransform:
    """Read the weight of a convolution as a matrix: [out, in, height, width] to [out, in * height * width]."""
    return WeightTransform(sources=(rf"{name}\.weight",), compute=lambda _, weight: weight.flatten(1))


class Layer(nn.Module):
    """A transformer layer that normalizes the input of the attention and of the feed-forward block."""

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__()
        size, inner_size = ctx.config.hidden_size, ctx.config.intermediate_size
        self.num_heads = ctx.config.num_attention_heads
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = Linear(ctx, size, size, size, size)
        self.attention = Attention(ctx, head_dim=size // self.num_heads)
        self.output = Linear(ctx, size, size)
        self.mlp_norm = nn.LayerNorm(size)
        self.up, self.down = Linear(ctx, size, inner_size), Linear(ctx, inner_size, size)
        self.act = ctx.activation("gelu")

    def forward(self, x: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, hidden_size] -> [num_tokens, hidden_size]."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        x = x + self.output(self.attention(*qkv.unbind(1), batch))
        output: Tensor = x + self.down(self.act(self.up(self.mlp_norm(x))))
        return output


class PatchSegmenter(PoolingModel):
    """Computes class scores for the pixels of each patch of a tile.

    Each sequence is a tile with one placeholder token per patch, row by row. Its feature ``pixels`` has the normalized
    values of each patch, [num_patches, num_channels * patch_size ** 2].
    """

    weight_transforms: ClassVar[Sequence[WeightTransform]] = (
        _flattened("patch_embed"),
        _flattened("neck"),
        _flattened("head"),
    )
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"encoder\.layers\.(\d+)\.self_attn\.in_proj_(\w+)", r"layers.\1.qkv.\2"),
        (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)", r"layers.\1.output.\2"),
        (r"encoder\.layers\.(\d+)\.norm1\.(\w+)", r"layers.\1.attention_norm.\2"),
        (r"encoder\.layers\.(\d+)\.norm2\.(\w+)", r"layers.\1.mlp_norm.\2"),
        (r"encoder\.layers\.(\d+)\.linear1\.(\w+)", r"layers.\1.up.\2"),
        (r"encoder\.layers\.(\d+)\.linear2\.(\w+)", r"layers.\1.down.\2"),
        (r"encoder\.norm\.(\w+)", r"norm.\1"),
        (r"positions", r"positions.weight"),
        (r"head\.(\w+)", r"poolers.plugin.head.\1"),
    )

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__(ctx)
        config = ctx.config
        size = config.hidden_size
        self.side = config.tile_size // config.patch_size  # patches per row and column
        self.patch_embed = Linear(ctx, config.num_channels * config.patch_size**2, size)
        self.positions = nn.Embedding(self.side**2, size)
        self.layers = nn.ModuleList([Layer(ctx) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(size)
        self.neck = Linear(ctx, size * KERNEL_SIZE**2, size)

    def build_pooler(self, ctx: ModelContext, task: str) -> nn.Module:
        """Return a pooler that applies the head to each patch: [num_patches, num_classes * patch_size ** 2]."""
        config = ctx.config
        head = Linear(ctx.for_head(), config.hidden_size, config.num_labels * config.patch_size**2)
        return ctx.pooler(task, head=head)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states of all patches, [num_tokens, hidden_size]."""
        arrays: list[Any] = [features["pixels"] for features in batch.features]
        pixels = torch.cat([torch.from_numpy(array) for array in arrays])
        x: Tensor = self.patch_embed(pixels.to(batch.input_ids.device, self.ctx.dtype))
        x = x + self.positions(batch.positions)
        for layer in self.layers:
            x = layer(x, batch)
        return self._convolve(self.norm(x))

    def _convolve(self, x: Tensor) -> Tensor:
        """Apply the convolution to the grid of patches of each tile, [num_tokens, hidden_size].

        It is a linear layer of the neighbours of each patch, so that the kernels of Millpond compute it.
        """
        grids = x.unflatten(0, (-1, self.side, self.side)).permute(0, 3, 1, 2)  # [tiles, hidden_size, side, side]
        neighbours = unfold(grids, KERNEL_SIZE, padding=KERNEL_SIZE // 2)  # [tiles, hidden_size * 9, side ** 2]
        return relu(self.neck(neighbours.transpose(1, 2).flatten(0, 1)))
