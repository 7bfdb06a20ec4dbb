"""What CLIP and SigLIP share: a tower that reads text and one that reads images, whose vectors can be compared.

An image is a sequence of its patches, row by row, and one token more, the last, which stands for all of it: ``LAST``
pools it, as it pools the last token of a text. Its features are ``pixels`` [num_patches, patch_size ** 2 * channels],
each patch by rows, columns and channels, and ``grid``, the rows and columns of patches; its token ids say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, PoolingModel, WeightTransform
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_models.layers.embeddings import Table
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.pre_norm import tower_layer

PIXELS, GRID = "pixels", "grid"
LAYER = r"(text|vision)_model\.encoder\.layers\.(\d+)\."
Grid = tuple[int, int]
CONVOLUTION = 4  # dimensions of its weight: [size, channels, patch_size, patch_size]


def _as_rows(_: PoolingModel, weight: Tensor) -> Tensor:
    """A convolution as a linear map of patches by rows, columns and channels."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == CONVOLUTION else weight


PATCHES = WeightTransform(sources=(r"(?:.*\.)?patch_embedding\.weight",), compute=_as_rows)


class DualEncoder(PoolingModel):
    """Reads a batch of texts or a batch of images; subclasses build the towers, and what stands behind them."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (LAYER + r"self_attn\.q_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@0"),
        (LAYER + r"self_attn\.k_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@1"),
        (LAYER + r"self_attn\.v_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@2"),
        (LAYER + r"self_attn\.out_proj\.(\w+)", r"\1.layers.\2.attention.output.\3"),
        (LAYER + r"layer_norm1\.(\w+)", r"\1.layers.\2.attention_norm.\3"),
        (LAYER + r"layer_norm2\.(\w+)", r"\1.layers.\2.feed_forward_norm.\3"),
        (LAYER + r"mlp\.fc1\.(\w+)", r"\1.layers.\2.feed_forward.up.\3"),
        (LAYER + r"mlp\.fc2\.(\w+)", r"\1.layers.\2.feed_forward.down.\3"),
        (r"text_model\.embeddings\.token_embedding\.weight", r"text.words.weight"),
        (r"(text|vision)_model\.embeddings\.position_embedding\.weight", r"\1.positions.weight"),
        (r"text_model\.final_layer_norm\.(\w+)", r"text.norm.\1"),
        (r"vision_model\.embeddings\.patch_embedding\.(\w+)", r"vision.patches.\1"),
        (r"vision_model\.post_layernorm\.(\w+)", r"vision.norm.\1"),
    )
    weight_transforms: ClassVar[Sequence[WeightTransform]] = (PATCHES,)
    ignored_weights: ClassVar[Sequence[str]] = (
        r"logit_scale",
        r"logit_bias",
        r"(?:text|vision)_model\.embeddings\.position_ids",
    )

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, dim]."""
        raise NotImplementedError

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, dim]."""
        raise NotImplementedError

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of texts, or of images -> [num_tokens, dim]."""
        with_pixels = sum(PIXELS in features for features in batch.features)
        if with_pixels not in (0, batch.num_seqs):
            message = (
                f"a batch of {batch.num_seqs} sequences holds {with_pixels} images: these need a group of their own"
            )
            raise InvalidInputError(message)
        return self.embed_images(batch) if with_pixels else self.embed_text(batch)


class TextTower(nn.Module):
    """Tokens with a table of positions, pre-norm layers, and a norm behind the last of them."""

    def __init__(self, ctx: Context, *, causal: bool) -> None:
        super().__init__()
        config = ctx.config
        self.words = Table(config.vocab_size, config.hidden_size)
        self.positions = Table(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(tower_layer(ctx, causal=causal) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm(config.hidden_size, float(config.layer_norm_eps))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        x: Tensor = self.words(batch.input_ids) + self.positions(batch.positions)
        for layer in self.layers:
            x = layer(x, batch)
        normed: Tensor = self.norm(x)
        return normed


class ImageTower(nn.Module):
    """What towers of images share: a map of patches, a table of positions, pre-norm layers and a norm.

    Attributes:
        side: The rows, and the columns, of the table of positions.
    """

    def __init__(self, ctx: Context, *, num_positions: int, side: int, bias: bool) -> None:
        super().__init__()
        config = ctx.config
        size = config.hidden_size
        self.dtype = ctx.dtype
        self.side = side
        self.patches = Linear(ctx, config.patch_size**2 * config.num_channels, size, bias=bias)
        self.positions = Table(num_positions, size)
        self.layers = nn.ModuleList(tower_layer(ctx, causal=False) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm(size, float(config.layer_norm_eps))

    def read(self, batch: PackedBatch) -> Tensor:
        """The mapped patches of all images, end to end, [num_patches, hidden]."""
        found = [torch.from_numpy(features[PIXELS]) for features in _features(batch)]
        mapped: Tensor = self.patches(torch.cat(found).to(batch.input_ids.device, self.dtype))
        return mapped

    def check_grids(self, batch: PackedBatch) -> None:
        """Refuse images that have not as many patches as the table has positions."""
        for grid in grids(batch):
            if grid != (self.side, self.side):
                message = f"the model reads images of {self.side} by {self.side} patches; got {grid[0]} by {grid[1]}"
                raise InvalidInputError(message, parameter="multi_modal_data")


def grids(batch: PackedBatch) -> list[Grid]:
    """The rows and columns of patches of each image."""
    return [features[GRID] for features in _features(batch)]


def _features(batch: PackedBatch) -> Sequence[Mapping[str, Any]]:
    return batch.features


def last_rows(batch: PackedBatch) -> Tensor:
    """The row of the last token of each sequence, [num_seqs]."""
    return torch.tensor([stop - 1 for stop in batch.offsets[1:]], device=batch.input_ids.device)


def other_rows(batch: PackedBatch) -> Tensor:
    """The rows of all tokens but the last of each sequence, in order."""
    rows = [torch.arange(start, stop - 1) for start, stop in zip(batch.offsets, batch.offsets[1:], strict=False)]
    return torch.cat(rows).to(batch.input_ids.device)


def without_last(batch: PackedBatch) -> PackedBatch:
    """The batch without the last token of each sequence, and without features."""
    rows = other_rows(batch)
    return replace(
        batch,
        input_ids=batch.input_ids[rows],
        positions=batch.positions[rows],
        lengths=tuple(length - 1 for length in batch.lengths),
        features=(),
    )


def square_side(config: Mapping[str, Any]) -> int:
    """The rows, and the columns, of patches of an image.

    Raises:
        CheckpointError: If config.json has no images of one size, or of less than a patch.
    """
    size, patch = config["image_size"], config["patch_size"]
    if not isinstance(size, int) or not isinstance(patch, int) or not 0 < patch <= size:
        message = f"config.json: image_size {size!r} with patch_size {patch!r}; here images are squares of such patches"
        raise CheckpointError(message)
    return size // patch
