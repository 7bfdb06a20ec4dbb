"""LlamaNemotronVLModel: texts with images, by SigLIP's tower of images and a Llama that attends in both directions.

It is an Eagle 2 (Li et al., 2025, arXiv 2501.14818), tuned to embed: each block of patches of a tile, four by default,
becomes one token of the Llama's.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.decoders.llama.bidirectional import LlamaBidirectionalModel
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.norm import LayerNorm
from millpond_models.vision.dual_encoder import PATCHES, PIXELS, DualEncoder, ImageTower, square_side
from millpond_models.vision.image_rows import with_image_rows

BEFORE = re.compile(r"(?:model\.)?(?:language_model\.(?:model\.)?|vision_model\.(?=vision_model\.))?")
TILES_AT_ONCE = 8  # which bounds what the tower needs
NORM_EPS = 1e-5  # config.json does not say it
LAST = -1  # the layer whose states are normed


class LlamaNemotronVLModel(LlamaBidirectionalModel):
    """A bidirectional Llama whose tokens may be parts of images.

    A sequence with images has them among its features: ``pixels`` [num_tiles, num_patches, patch_size ** 2 * channels],
    and ``image_rows``, the places of the tokens that parts of them stand for.
    """

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *LlamaBidirectionalModel.weight_names,
        *DualEncoder.weight_names,
        (r"mlp1\.0\.(\w+)", r"projector.norm.\1"),
        (r"mlp1\.1\.(\w+)", r"projector.up.\1"),
        (r"mlp1\.3\.(\w+)", r"projector.down.\1"),
    )
    weight_transforms = (PATCHES,)
    ignored_weights: ClassVar[Sequence[str]] = (
        *LlamaBidirectionalModel.ignored_weights,
        r"vision_model\.head\..*",
        r"vision_model\.embeddings\.position_ids",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx.for_part("llm_config"))
        self.vision = TileTower(ctx.for_part("vision_config"), layer=int(ctx.config.select_layer))
        self.projector = TileProjector(ctx, side=self.vision.side)

    def embed(self, batch: PackedBatch) -> Tensor:
        """What the first layer gets: [num_tokens, hidden]."""
        return with_image_rows(super().embed(batch), batch, self.see)

    def see(self, features: Mapping[str, Any]) -> Tensor:
        """The features of a prompt -> its images, end to end, [num_rows, hidden]."""
        tiles: Tensor = torch.from_numpy(features[PIXELS])
        return torch.cat([self.projector(self.vision(part)) for part in tiles.split(TILES_AT_ONCE)])

    def parameter_name(self, name: str) -> str | None:
        """The name of the parameter that a checkpoint name means, whatever the model was wrapped in."""
        found = BEFORE.match(name)
        return super().parameter_name(name if found is None else name[found.end() :])


class TileTower(ImageTower):
    """SigLIP's tower of images, for tiles of its own size.

    Args:
        ctx: The context of the tower.
        layer: The layer whose states it gives, counted from 0 for what goes into the first, or from the end. Those of
            -1 are normed, others are not, as in InternVL (Chen et al., 2023, arXiv 2312.14238).
    """

    def __init__(self, ctx: Context, *, layer: int) -> None:
        side = square_side(ctx.config)
        super().__init__(ctx, num_positions=side**2, side=side, bias=True)
        count = len(self.layers)
        self.depth = layer if layer >= 0 else count + 1 + layer
        self.is_normed = layer == LAST
        if not 0 <= self.depth <= count:
            message = f"config.json: select_layer {layer}, and the tower of images has {count} layers"
            raise CheckpointError(message)

    def forward(self, pixels: Tensor) -> Tensor:
        """[num_tiles, num_patches, values of a patch] -> [num_tiles, num_patches, hidden]."""
        count, length = pixels.shape[:2]
        places = self.positions.weight
        batch = PackedBatch.pack([torch.zeros(length)] * count, device=places.device)
        x = self.patches(pixels.flatten(0, 1).to(places.device, self.dtype)) + places.repeat(count, 1)
        for layer in islice(self.layers, self.depth):
            x = layer(x, batch)
        found: Tensor = self.norm(x) if self.is_normed else x
        tiles: Tensor = found.unflatten(0, (count, length))
        return tiles


class TileProjector(nn.Module):
    """Square blocks of neighbouring patches, end to end, as tokens: ``down(gelu(up(norm(block))))``."""

    def __init__(self, ctx: Context, *, side: int) -> None:
        super().__init__()
        size = ctx.config.llm_config.hidden_size
        self.side, self.block = side, block_side(ctx.config, side)
        joined = ctx.config.vision_config.hidden_size * self.block**2
        self.norm = LayerNorm(joined, NORM_EPS)
        self.up = Linear(ctx, joined, size)
        self.down = Linear(ctx, size, size)
        self.activation = hidden_activation(ctx, "gelu")

    def forward(self, patches: Tensor) -> Tensor:
        """[num_tiles, num_patches, size] -> [num_tiles * num_patches / block ** 2, size of a token]."""
        rows = self.side // self.block
        blocks = patches.unflatten(1, (rows, self.block, rows, self.block)).transpose(2, 3)
        joined = blocks.reshape(len(patches) * rows * rows, -1)
        projected: Tensor = self.down(self.activation(self.up(self.norm(joined))))
        return projected


def block_side(config: CheckpointConfig, side: int) -> int:
    """The rows, and the columns, of patches that become one token.

    Raises:
        CheckpointError: If config.json says something else than whole blocks, read row by row.
    """
    ratio, version = float(config.downsample_ratio), config.get("ps_version")
    block = round(1 / ratio) if 0 < ratio <= 1 else 0
    if not block or side % block or block * ratio != 1:
        message = f"config.json: downsample_ratio {ratio!r} makes no whole blocks of {side} by {side} patches"
        raise CheckpointError(message)
    if version != "v2":
        message = f"config.json: ps_version {version!r}; here patches are joined as 'v2' has it"
        raise CheckpointError(message)
    return block
