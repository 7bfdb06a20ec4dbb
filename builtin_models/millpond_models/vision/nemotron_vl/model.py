"""LlamaNemotronVLModel: texts with images, from SigLIP's vision encoder and a bidirectional Llama.

The architecture is Eagle 2 (Li et al., 2025, arXiv 2501.14818) fine-tuned for embeddings: each block of patches of a
tile, four by default, becomes one token of the Llama.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, to_device
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.decoders.llama.bidirectional import LlamaBidirectionalModel
from millpond_models.layers.activations import hidden_activation
from millpond_models.layers.norm import LayerNorm
from millpond_models.vision.dual_encoder import PATCH_EMBEDDING, PIXELS, DualEncoder, VisionEncoder, square_side
from millpond_models.vision.image_rows import with_image_rows

WRAPPER_PREFIX = re.compile(r"(?:model\.)?(?:language_model\.(?:model\.)?|vision_model\.(?=vision_model\.))?")
TILES_PER_BATCH = 8  # limits the memory of the vision encoder
NORM_EPS = 1e-5  # not in config.json
LAST_LAYER = -1  # ``select_layer`` for the output of the final norm


class LlamaNemotronVLModel(LlamaBidirectionalModel):
    """A bidirectional Llama whose tokens may be parts of images.

    The features of a sequence with images are ``pixels`` [num_tiles, num_patches, patch_size ** 2 * channels] and
    ``image_rows``, the indices of the tokens that image embeddings replace.
    """

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *LlamaBidirectionalModel.weight_names,
        *DualEncoder.weight_names,
        (r"mlp1\.0\.(\w+)", r"multi_modal_projector.norm.\1"),
        (r"mlp1\.1\.(\w+)", r"multi_modal_projector.up.\1"),
        (r"mlp1\.3\.(\w+)", r"multi_modal_projector.down.\1"),
    )
    weight_transforms = (PATCH_EMBEDDING,)
    ignored_weights: ClassVar[Sequence[str]] = (
        *LlamaBidirectionalModel.ignored_weights,
        r"vision_model\.head\..*",
        r"vision_model\.embeddings\.position_ids",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx.for_part("llm_config"))
        self.vision = TileEncoder(ctx.for_part("vision_config"), layer=int(ctx.config.select_layer))
        self.multi_modal_projector = TileProjector(ctx, side=self.vision.side)

    def embed(self, batch: PackedBatch) -> Tensor:
        """Return the embeddings of tokens and images, [num_tokens, hidden_size]."""
        return with_image_rows(super().embed(batch), batch, self.embed_images)

    def embed_images(self, features: Mapping[str, Any]) -> Tensor:
        """Return the concatenated embeddings of the images of a prompt, [num_rows, hidden_size]."""
        tiles: Tensor = torch.from_numpy(features[PIXELS])
        return torch.cat([self.multi_modal_projector(self.vision(part)) for part in tiles.split(TILES_PER_BATCH)])

    def parameter_name(self, name: str) -> str | None:
        """Return the name of the parameter for a checkpoint name, without the prefixes of wrapper classes."""
        match = WRAPPER_PREFIX.match(name)
        return super().parameter_name(name if match is None else name[match.end() :])


class TileEncoder(VisionEncoder):
    """SigLIP's vision encoder, for tiles of its input size.

    Args:
        ctx: The context of the vision encoder.
        layer: The layer whose hidden states are returned, where 0 is the input of the first layer and negative numbers
            count from the end. Only the output of the last layer (-1) is normalized, as in InternVL (Chen et al., 2023,
            arXiv 2312.14238).
    """

    def __init__(self, ctx: Context, *, layer: int) -> None:
        side = square_side(ctx.config)
        super().__init__(ctx, num_positions=side**2, side=side, bias=True)
        num_layers = len(self.layers)
        self.depth = layer if layer >= 0 else num_layers + 1 + layer
        self.is_normed = layer == LAST_LAYER
        if not 0 <= self.depth <= num_layers:
            message = f"config.json: select_layer {layer} is out of range: the vision encoder has {num_layers} layers"
            raise CheckpointError(message)

    def forward(self, pixels: Tensor) -> Tensor:
        """[num_tiles, num_patches, values per patch] -> [num_tiles, num_patches, hidden_size]."""
        num_tiles, num_patches = pixels.shape[:2]
        positions = self.position_embedding.weight
        batch = PackedBatch.pack([torch.zeros(num_patches)] * num_tiles, device=positions.device)
        embedded = self.patch_embedding(to_device(pixels.flatten(0, 1).to(self.dtype), positions.device))
        hidden_states = embedded + positions.repeat(num_tiles, 1)
        for layer in islice(self.layers, self.depth):
            hidden_states = layer(hidden_states, batch)
        output: Tensor = self.norm(hidden_states) if self.is_normed else hidden_states
        tiles: Tensor = output.unflatten(0, (num_tiles, num_patches))
        return tiles


class TileProjector(nn.Module):
    """Projects square blocks of concatenated patches to tokens: ``down(gelu(up(norm(block))))``."""

    def __init__(self, ctx: Context, *, side: int) -> None:
        super().__init__()
        size = ctx.config.llm_config.hidden_size
        self.side, self.block = side, block_side(ctx.config, side)
        block_size = ctx.config.vision_config.hidden_size * self.block**2
        self.norm = LayerNorm(block_size, NORM_EPS)
        self.up = Linear(ctx, block_size, size)
        self.down = Linear(ctx, size, size)
        self.activation = hidden_activation(ctx, "gelu")

    def forward(self, patches: Tensor) -> Tensor:
        """[num_tiles, num_patches, size] -> [num_tiles * num_patches / block ** 2, hidden_size of the Llama]."""
        rows = self.side // self.block
        blocks = patches.unflatten(1, (rows, self.block, rows, self.block)).transpose(2, 3)
        concatenated = blocks.reshape(len(patches) * rows * rows, -1)
        projected: Tensor = self.down(self.activation(self.up(self.norm(concatenated))))
        return projected


def block_side(config: CheckpointConfig, side: int) -> int:
    """Return the rows, and columns, of patches that become one token.

    Raises:
        CheckpointError: If ``downsample_ratio`` does not divide a tile into whole blocks, or ``ps_version`` is not v2.
    """
    ratio, version = float(config.downsample_ratio), config.get("ps_version")
    block = round(1 / ratio) if 0 < ratio <= 1 else 0
    if not block or side % block or block * ratio != 1:
        message = f"config.json: downsample_ratio {ratio!r} does not divide {side} by {side} patches into whole blocks"
        raise CheckpointError(message)
    if version != "v2":
        message = f"config.json: unsupported ps_version {version!r}. Supported: 'v2'"
        raise CheckpointError(message)
    return block
