"""SiglipModel and Siglip2Model: dual encoders with an attention pooling head (Zhai et al., 2023, arXiv 2303.15343).

SigLIP 2 (Tschannen et al., 2025, arXiv 2502.14786) adds the NaFlex models, which read images of any aspect ratio with
interpolated position embeddings. Its fixed-resolution models have the architecture of SigLIP.
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
from millpond_models.layers.pre_norm import encoder_feed_forward
from millpond_models.vision.dual_encoder import (
    DualEncoder,
    Grid,
    TextEncoder,
    VisionEncoder,
    grids,
    last_rows,
    other_rows,
    square_side,
    without_last,
)


class SiglipModel(DualEncoder):
    """SigLIP: the last token of a text padded to full length, and the attention pooling head for images."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DualEncoder.weight_names,
        (r"text_model\.head\.(\w+)", r"text_head.\1"),
        (r"vision_model\.head\.probe", r"vision.head.probe"),
        (r"vision_model\.head\.attention\.(query|key_value)\.(\w+)", r"vision.head.\1.\2"),
        (r"vision_model\.head\.attention\.out_proj\.(\w+)", r"vision.head.output.\1"),
        (r"vision_model\.head\.layernorm\.(\w+)", r"vision.head.norm.\1"),
        (r"vision_model\.head\.mlp\.fc1\.(\w+)", r"vision.head.feed_forward.up.\1"),
        (r"vision_model\.head\.mlp\.fc2\.(\w+)", r"vision.head.feed_forward.down.\1"),
    )
    # Checkpoints fuse query, key and value of the head; here the query has a separate projection.
    weight_transforms = (
        *DualEncoder.weight_transforms,
        WeightTransform.split(
            r"(vision_model\.head\.attention)\.in_proj_(\w+)", (r"\1.query.\2", r"\1.key_value.\2"), sizes=(1, 2)
        ),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        text = ctx.for_part("text_config")
        size = text.config.hidden_size
        self.text = TextEncoder(text, causal=False)
        self.text_head = Linear(text, size, text.config.get("projection_size") or size)
        self.vision = self.build_vision(ctx.for_part("vision_config"))

    def build_vision(self, ctx: Context) -> "SiglipVisionEncoder":
        """Build the vision encoder."""
        side = square_side(ctx.config)
        return SiglipVisionEncoder(ctx, num_positions=side**2, side=side)

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, dim]."""
        projected: Tensor = self.text_head(self.text(batch))
        return projected

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, dim]."""
        hidden_states: Tensor = self.vision(batch)
        return hidden_states


class Siglip2Model(SiglipModel):
    """SigLIP 2 NaFlex, for images of any aspect ratio."""

    def build_vision(self, ctx: Context) -> "SiglipVisionEncoder":
        """Build the vision encoder; its position embeddings form a square.

        Raises:
            CheckpointError: If ``num_patches`` is not a square number.
        """
        side = isqrt(ctx.config.num_patches)
        if side**2 != ctx.config.num_patches:
            message = f"config.json: num_patches must be a square number; got {ctx.config.num_patches}"
            raise CheckpointError(message)
        return Siglip2VisionEncoder(ctx, num_positions=side**2, side=side)


class SiglipVisionEncoder(VisionEncoder):
    """Vision transformer without a class token; the pooling head computes the row of the whole image."""

    def __init__(self, ctx: Context, *, num_positions: int, side: int) -> None:
        super().__init__(ctx, num_positions=num_positions, side=side, bias=True)
        if not ctx.config.vision_use_head:
            message = (
                "config.json: vision_use_head is false, but image embeddings require the pooling head of the vision "
                "encoder"
            )
            raise CheckpointError(message)
        self.head = AttentionPoolingHead(ctx)

    def position_embeddings(self, batch: PackedBatch) -> Tensor:
        """Return the position embeddings of all patches, [num_patches, hidden_size]."""
        self.check_grids(batch)
        return self.position_embedding.weight.repeat(batch.num_seqs, 1)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, hidden_size]."""
        patches = without_last(batch)
        hidden_states = self.embed_patches(batch) + self.position_embeddings(batch)
        for layer in self.layers:
            hidden_states = layer(hidden_states, patches)
        hidden_states = self.norm(hidden_states)
        output: Tensor = hidden_states.new_empty(batch.num_tokens, hidden_states.shape[1])
        output[other_rows(batch)] = hidden_states
        output[last_rows(batch)] = self.head(hidden_states, patches)
        return output


class Siglip2VisionEncoder(SiglipVisionEncoder):
    """SigLIP's vision encoder with position embeddings interpolated to the shape of each image."""

    def position_embeddings(self, batch: PackedBatch) -> Tensor:
        """Return the position embeddings of all patches, [num_patches, hidden_size]."""
        interpolated = {grid: self._interpolate(grid) for grid in set(grids(batch))}
        embeddings: Tensor = torch.cat([interpolated[grid] for grid in grids(batch)])
        return embeddings

    def _interpolate(self, grid: Grid) -> Tensor:
        weight = self.position_embedding.weight.float().unflatten(0, (self.side, self.side))
        channels_first = weight.permute(2, 0, 1).unsqueeze(0)
        resized = functional.interpolate(
            channels_first, size=grid, mode="bilinear", align_corners=False, antialias=True
        )
        return resized[0].flatten(1).t().to(self.dtype)


class AttentionPoolingHead(nn.Module):
    """Multi-head attention of one learned query to the patches of an image, then a residual feed-forward network."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        size, eps = ctx.config.hidden_size, float(ctx.config.layer_norm_eps)
        self.head_dim = head_dim(size, ctx.config.num_attention_heads)
        self.probe = nn.Parameter(torch.empty(1, 1, size), requires_grad=False)
        self.query = Linear(ctx, size, size)
        self.key_value = Linear(ctx, size, size, size)
        self.output = Linear(ctx, size, size)
        self.norm = LayerNorm(size, eps)
        self.feed_forward = encoder_feed_forward(ctx)

    def forward(self, hidden_states: Tensor, patches: PackedBatch) -> Tensor:
        """The patches of all images [num_patches, size] -> [num_images, size]."""
        query = self.query(self.probe[0]).unflatten(-1, (-1, self.head_dim)).transpose(0, 1)
        keys, values = self.key_value(hidden_states).unflatten(-1, (2, -1, self.head_dim)).permute(1, 2, 0, 3)
        attended = [
            functional.scaled_dot_product_attention(query, keys[:, start:stop], values[:, start:stop])
            for start, stop in pairwise(patches.offsets)
        ]
        projected = self.output(torch.stack([heads.transpose(0, 1).flatten() for heads in attended]))
        pooled: Tensor = projected + self.feed_forward(self.norm(projected))
        return pooled
