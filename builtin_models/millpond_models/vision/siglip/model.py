"""SiglipModel and Siglip2Model: towers of text and images, trained pair by pair (Zhai et al., 2023, arXiv 2303.15343).

SigLIP 2 (Tschannen et al., 2025, arXiv 2502.14786) adds images of any shape, whose positions are made of the table by
interpolation; its models of one shape are SigLIP's.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, WeightTransform
from millpond.types.errors import CheckpointError
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.pre_norm import tower_feed_forward
from millpond_models.vision.dual_encoder import (
    DualEncoder,
    Grid,
    ImageTower,
    TextTower,
    grids,
    last_rows,
    other_rows,
    square_side,
    without_last,
)


class SiglipModel(DualEncoder):
    """SigLIP: the last token of a text of full length, or what a probe takes from the patches of an image."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DualEncoder.weight_names,
        (r"text_model\.head\.(\w+)", r"text_head.\1"),
        (r"vision_model\.head\.probe", r"vision.head.probe"),
        (r"vision_model\.head\.attention\.(query|keys)\.(\w+)", r"vision.head.\1.\2"),
        (r"vision_model\.head\.attention\.out_proj\.(\w+)", r"vision.head.output.\1"),
        (r"vision_model\.head\.layernorm\.(\w+)", r"vision.head.norm.\1"),
        (r"vision_model\.head\.mlp\.fc1\.(\w+)", r"vision.head.feed_forward.up.\1"),
        (r"vision_model\.head\.mlp\.fc2\.(\w+)", r"vision.head.feed_forward.down.\1"),
    )
    # Query, key and value of the head's attention are one tensor; the query's map is one of its own here.
    weight_transforms = (
        *DualEncoder.weight_transforms,
        WeightTransform.split(
            r"(vision_model\.head\.attention)\.in_proj_(\w+)", (r"\1.query.\2", r"\1.keys.\2"), sizes=(1, 2)
        ),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        text = ctx.for_part("text_config")
        size = text.config.hidden_size
        self.text = TextTower(text, causal=False)
        self.text_head = Linear(text, size, text.config.get("projection_size") or size)
        self.vision = self.build_vision(ctx.for_part("vision_config"))

    def build_vision(self, ctx: Context) -> "ProbedTower":
        """The tower of images."""
        side = square_side(ctx.config)
        return ProbedTower(ctx, num_positions=side**2, side=side)

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, dim]."""
        mapped: Tensor = self.text_head(self.text(batch))
        return mapped

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, dim]."""
        found: Tensor = self.vision(batch)
        return found


class Siglip2Model(SiglipModel):
    """SigLIP 2 that reads images of any shape."""

    def build_vision(self, ctx: Context) -> "ProbedTower":
        """The tower of images; its table of positions is a square."""
        side = isqrt(ctx.config.num_patches)
        if side**2 != ctx.config.num_patches:
            message = (
                f"config.json: num_patches {ctx.config.num_patches} is no square, as the table of positions must be"
            )
            raise CheckpointError(message)
        return AnyShapeTower(ctx, num_positions=side**2, side=side)


class ProbedTower(ImageTower):
    """Patches alone; the row behind them is what a probe takes from all of them."""

    def __init__(self, ctx: Context, *, num_positions: int, side: int) -> None:
        super().__init__(ctx, num_positions=num_positions, side=side, bias=True)
        if not ctx.config.vision_use_head:
            message = (
                "config.json: vision_use_head is false, and without that head nothing stands for an image as a whole"
            )
            raise CheckpointError(message)
        self.head = ProbeHead(ctx)

    def places(self, batch: PackedBatch) -> Tensor:
        """The positions of all patches, [num_patches, hidden]."""
        self.check_grids(batch)
        return self.positions.weight.repeat(batch.num_seqs, 1)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, hidden]."""
        patches = without_last(batch)
        x = self.read(batch) + self.places(batch)
        for layer in self.layers:
            x = layer(x, patches)
        x = self.norm(x)
        found: Tensor = x.new_empty(batch.num_tokens, x.shape[1])
        found[other_rows(batch)] = x
        found[last_rows(batch)] = self.head(x, patches)
        return found


class AnyShapeTower(ProbedTower):
    """The same of images of any shape: the table of positions is stretched to it."""

    def places(self, batch: PackedBatch) -> Tensor:
        """The positions of all patches, [num_patches, hidden]."""
        made = {grid: self._stretched(grid) for grid in set(grids(batch))}
        places: Tensor = torch.cat([made[grid] for grid in grids(batch)])
        return places

    def _stretched(self, grid: Grid) -> Tensor:
        table = self.positions.weight.float().unflatten(0, (self.side, self.side)).permute(2, 0, 1).unsqueeze(0)
        stretched = functional.interpolate(table, size=grid, mode="bilinear", align_corners=False, antialias=True)
        return stretched[0].flatten(1).t().to(self.dtype)


class ProbeHead(nn.Module):
    """Attention of one learned query to the patches of an image, then a feed-forward that is added to it."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        size, eps = ctx.config.hidden_size, float(ctx.config.layer_norm_eps)
        self.head_dim = head_dim(size, ctx.config.num_attention_heads)
        self.probe = nn.Parameter(torch.empty(1, 1, size), requires_grad=False)
        self.query = Linear(ctx, size, size)
        self.keys = Linear(ctx, size, size, size)
        self.output = Linear(ctx, size, size)
        self.norm = LayerNorm(size, eps)
        self.feed_forward = tower_feed_forward(ctx)

    def forward(self, x: Tensor, patches: PackedBatch) -> Tensor:
        """The patches of all images [num_patches, size] -> [num_images, size]."""
        query = self.query(self.probe[0]).unflatten(-1, (-1, self.head_dim)).transpose(0, 1)
        keys, values = self.keys(x).unflatten(-1, (2, -1, self.head_dim)).permute(1, 2, 0, 3)
        taken = [
            functional.scaled_dot_product_attention(query, keys[:, start:stop], values[:, start:stop])
            for start, stop in pairwise(patches.offsets)
        ]
        attended = self.output(torch.stack([one.transpose(0, 1).flatten() for one in taken]))
        added: Tensor = attended + self.feed_forward(self.norm(attended))
        return added
