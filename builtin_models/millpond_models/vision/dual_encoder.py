"""Base classes of CLIP and SigLIP: a text encoder and a vision encoder with comparable embeddings.

An image is a sequence of its patches, row by row, followed by one token for the whole image, which ``LAST`` pools like
the last token of a text. The features of an image are ``pixels`` [num_patches, patch_size ** 2 * channels], each patch
ordered by rows, columns and channels, and ``grid``, the numbers of rows and columns of patches. Its token IDs have no
meaning.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, PoolingModel, WeightTransform, to_device
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_models.layers.embeddings import Embedding, TokenEmbedding
from millpond_models.layers.norm import LayerNorm
from millpond_models.layers.pre_norm import encoder_layer

PIXELS, GRID = "pixels", "grid"
LAYER = r"(text|vision)_model\.encoder\.layers\.(\d+)\."
Grid = tuple[int, int]
CONVOLUTION_NDIM = 4  # [size, channels, patch_size, patch_size]


def _flatten_convolution(_: PoolingModel, weight: Tensor) -> Tensor:
    """Return the patch convolution as a linear layer on patches ordered by rows, columns and channels."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == CONVOLUTION_NDIM else weight


PATCH_EMBEDDING = WeightTransform(sources=(r"(?:.*\.)?patch_embedding\.weight",), compute=_flatten_convolution)


class DualEncoder(PoolingModel, ABC):
    """Encodes a batch of texts or a batch of images; subclasses build both encoders and their projections."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (LAYER + r"self_attn\.q_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@0"),
        (LAYER + r"self_attn\.k_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@1"),
        (LAYER + r"self_attn\.v_proj\.(\w+)", r"\1.layers.\2.attention.qkv.\3@2"),
        (LAYER + r"self_attn\.out_proj\.(\w+)", r"\1.layers.\2.attention.output.\3"),
        (LAYER + r"layer_norm1\.(\w+)", r"\1.layers.\2.attention_norm.\3"),
        (LAYER + r"layer_norm2\.(\w+)", r"\1.layers.\2.feed_forward_norm.\3"),
        (LAYER + r"mlp\.fc1\.(\w+)", r"\1.layers.\2.feed_forward.up.\3"),
        (LAYER + r"mlp\.fc2\.(\w+)", r"\1.layers.\2.feed_forward.down.\3"),
        (r"text_model\.embeddings\.token_embedding\.weight", r"text.token_embedding.weight"),
        (r"(text|vision)_model\.embeddings\.position_embedding\.weight", r"\1.position_embedding.weight"),
        (r"text_model\.final_layer_norm\.(\w+)", r"text.norm.\1"),
        (r"vision_model\.embeddings\.patch_embedding\.(\w+)", r"vision.patch_embedding.\1"),
        (r"vision_model\.post_layernorm\.(\w+)", r"vision.norm.\1"),
    )
    weight_transforms: ClassVar[Sequence[WeightTransform]] = (PATCH_EMBEDDING,)
    ignored_weights: ClassVar[Sequence[str]] = (
        r"logit_scale",
        r"logit_bias",
        r"(?:text|vision)_model\.embeddings\.position_ids",
    )

    @abstractmethod
    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, dim]."""

    @abstractmethod
    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, dim]."""

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of texts or of images -> [num_tokens, dim].

        Raises:
            InvalidInputError: If the batch contains both.
        """
        num_images = sum(PIXELS in features for features in batch.features)
        if num_images not in (0, batch.num_seqs):
            message = (
                f"a batch of {batch.num_seqs} sequences contains {num_images} images: texts and images need separate "
                "batches"
            )
            raise InvalidInputError(message)
        return self.embed_images(batch) if num_images else self.embed_text(batch)


class TextEncoder(nn.Module):
    """Token and position embeddings, pre-norm layers and a final norm."""

    def __init__(self, ctx: Context, *, causal: bool) -> None:
        super().__init__()
        config = ctx.config
        self.token_embedding = TokenEmbedding(ctx, config.vocab_size, config.hidden_size)
        self.position_embedding = Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(encoder_layer(ctx, causal=causal) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm(config.hidden_size, float(config.layer_norm_eps))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        hidden_states: Tensor = self.token_embedding(batch.input_ids) + self.position_embedding(batch.positions)
        for layer in self.layers:
            hidden_states = layer(hidden_states, batch)
        normed: Tensor = self.norm(hidden_states)
        return normed


class VisionEncoder(nn.Module):
    """Base class of vision encoders: patch and position embeddings, pre-norm layers and a norm.

    Attributes:
        side: Rows, and columns, of patches that the position embeddings cover.
    """

    def __init__(self, ctx: Context, *, num_positions: int, side: int, bias: bool) -> None:
        super().__init__()
        config = ctx.config
        size = config.hidden_size
        self.dtype = ctx.dtype
        self.side = side
        self.patch_embedding = Linear(ctx, config.patch_size**2 * config.num_channels, size, bias=bias)
        self.position_embedding = Embedding(num_positions, size)
        self.layers = nn.ModuleList(encoder_layer(ctx, causal=False) for _ in range(config.num_hidden_layers))
        self.norm = LayerNorm(size, float(config.layer_norm_eps))

    def embed_patches(self, batch: PackedBatch) -> Tensor:
        """Return the embeddings of the patches of all images, [num_patches, hidden_size]."""
        pixels = [torch.from_numpy(features[PIXELS]) for features in _features(batch)]
        embedded: Tensor = self.patch_embedding(to_device(torch.cat(pixels), batch.input_ids.device).to(self.dtype))
        return embedded

    def check_grids(self, batch: PackedBatch) -> None:
        """Raise InvalidInputError for images whose number of patches differs from the number of positions."""
        for grid in grids(batch):
            if grid != (self.side, self.side):
                message = f"the model reads images of {self.side} by {self.side} patches; got {grid[0]} by {grid[1]}"
                raise InvalidInputError(message, parameter="multi_modal_data")


def grids(batch: PackedBatch) -> list[Grid]:
    """Return the rows and columns of patches of each image."""
    return [features[GRID] for features in _features(batch)]


def _features(batch: PackedBatch) -> Sequence[Mapping[str, Any]]:
    return batch.features


def last_rows(batch: PackedBatch) -> Tensor:
    """Return the row of the last token of each sequence, [num_seqs]."""
    return to_device(torch.tensor([stop - 1 for stop in batch.offsets[1:]]), batch.input_ids.device)


def other_rows(batch: PackedBatch) -> Tensor:
    """Return the rows of all tokens except the last of each sequence, in order."""
    rows = [torch.arange(start, stop - 1) for start, stop in zip(batch.offsets, batch.offsets[1:], strict=False)]
    return to_device(torch.cat(rows), batch.input_ids.device)


def without_last(batch: PackedBatch) -> PackedBatch:
    """Return the batch without the last token of each sequence and without features."""
    rows = other_rows(batch)
    return replace(
        batch,
        input_ids=batch.input_ids[rows],
        positions=batch.positions[rows],
        lengths=tuple(length - 1 for length in batch.lengths),
        features=(),
    )


def square_side(config: Mapping[str, Any]) -> int:
    """Return the rows, and columns, of patches of an image.

    Raises:
        CheckpointError: If ``image_size`` is not an integer of at least ``patch_size``.
    """
    size, patch = config["image_size"], config["patch_size"]
    if not isinstance(size, int) or not isinstance(patch, int) or not 0 < patch <= size:
        message = (
            f"config.json: unsupported image_size {size!r} with patch_size {patch!r}: images must be squares of at "
            "least one patch"
        )
        raise CheckpointError(message)
    return size // patch
