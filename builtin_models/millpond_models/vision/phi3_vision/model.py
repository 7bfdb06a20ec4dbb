"""Phi3VForCausalLM: Phi-3 with CLIP's vision encoder (Abdin et al., 2024, arXiv 2404.14219).

``Phi3Images`` cuts an image into crops: first the whole image, then its parts, row by row.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, WeightTransform
from millpond.types.errors import CheckpointError
from millpond_models.decoders.phi3.model import Phi3Model
from millpond_models.layers.activations import hidden_activation
from millpond_models.vision.clip.model import CLIPModel, CLIPVisionEncoder
from millpond_models.vision.dual_encoder import GRID, PATCH_EMBEDDING, PIXELS, other_rows, square_side
from millpond_models.vision.image_rows import with_image_rows
from millpond_models.vision.phi3_vision.images import CROPS, GRIDS

VISION = r"vision_embed_tokens\.img_processor\."
VISION_LAYER = re.compile(r"images\.vision\.layers\.(\d+)\..*")
# Checkpoints store the separators with leading dimensions of size 1.
SEPARATORS = WeightTransform(
    sources=(r"vision_embed_tokens\.(?:glb_GN|sub_GN)",), compute=lambda _, tensor: tensor.flatten()
)
TRANSFORM_ORDERS = ("sub_glb", "glb_sub")
PATCHES_PER_BLOCK = 4  # 2 by 2
SUPPORTED: Mapping[str, Mapping[str, object]] = {
    "img_processor": {"name": "clip_vision_model", "type_feature": "patch"},
    "embd_layer": {
        "embedding_cls": "image",
        "projection_cls": "mlp",
        "use_hd_transform": True,
        "with_learnable_separator": True,
    },
}


class Phi3VForCausalLM(Phi3Model):
    """Phi-3-vision without its LM head."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *((VISION + pattern, f"images.{name}") for pattern, name in CLIPModel.weight_names if "projection" not in name),
        (r"vision_embed_tokens\.glb_GN", r"images.image_separator"),
        (r"vision_embed_tokens\.sub_GN", r"images.line_separator"),
        (r"vision_embed_tokens\.img_projection\.0\.(\w+)", r"images.up.\1"),
        (r"vision_embed_tokens\.img_projection\.2\.(\w+)", r"images.down.\1"),
        *Phi3Model.weight_names,
    )
    weight_transforms: ClassVar[Sequence[WeightTransform]] = (PATCH_EMBEDDING, SEPARATORS)
    ignored_weights: ClassVar[Sequence[str]] = (
        *Phi3Model.ignored_weights,
        r"vision_embed_tokens\.wte\.weight",  # a copy of the token embeddings
        VISION + r"vision_model\.(?:post_layernorm\.\w+|embeddings\.position_ids)",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.images = ImageEmbeddings(ctx)

    def embed(self, batch: PackedBatch) -> Tensor:
        """Return the embeddings of tokens and images, [num_tokens, hidden_size]."""
        return with_image_rows(super().embed(batch), batch, self.images)

    def parameter_name(self, name: str) -> str | None:
        """Return the name of the parameter; None for layers of the vision encoder that are not computed."""
        target = super().parameter_name(name)
        layer = VISION_LAYER.fullmatch(target or "")
        vision = self.images.vision
        return None if layer and len(vision.layers) <= int(layer[1]) < vision.published_layers else target


class ImageEmbeddings(nn.Module):
    """Embeddings of images: blocks of 2 by 2 patches and learned separators, projected by two layers."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        _check(ctx)
        size, block_size = ctx.config.hidden_size, PATCHES_PER_BLOCK * ctx.config["vision_config"].hidden_size
        self.whole_image_first = _transform_order(ctx) == "glb_sub"
        self.vision = PatchEncoder(ctx)
        self.line_separator = nn.Parameter(torch.empty(block_size), requires_grad=False)
        self.image_separator = nn.Parameter(torch.empty(block_size), requires_grad=False)
        self.up = Linear(ctx, block_size, size)
        self.down = Linear(ctx, size, size)
        self.activation = hidden_activation(ctx, "gelu")

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        """Return the concatenated embeddings of the images of a prompt, [num_rows, hidden_size]."""
        crops = torch.from_numpy(features[CROPS])  # [num_crops, num_patches, patch ** 2 * channels]
        grids = [(int(rows), int(columns)) for rows, columns in features[GRIDS]]
        crops_by_image = crops.split([1 + rows * columns for rows, columns in grids])
        rows = torch.cat([self._rows(crops, grid) for crops, grid in zip(crops_by_image, grids, strict=True)])
        projected: Tensor = self.down(self.activation(self.up(rows)))
        return projected

    def _rows(self, crops: Tensor, grid: tuple[int, int]) -> Tensor:
        """The crops of an image -> [num_rows, 4 * hidden_size of the vision encoder]."""
        blocks = self._blocks(self.vision.encode(crops, self.image_separator.device))
        whole, parts = self._lines(blocks[:1], (1, 1)), self._lines(blocks[1:], grid)
        first, second = (whole, parts) if self.whole_image_first else (parts, whole)
        return torch.cat([first, self.image_separator.unsqueeze(0), second])

    def _blocks(self, hidden_states: Tensor) -> Tensor:
        """[num_crops, side ** 2, size] -> [num_crops, side / 2, side / 2, 4 * size]: blocks of 2 by 2 patches."""
        half = self.vision.side // 2
        blocks = hidden_states.unflatten(1, (half, 2, half, 2)).permute(0, 1, 3, 2, 4, 5)
        concatenated: Tensor = blocks.flatten(3)
        return concatenated

    def _lines(self, crops: Tensor, grid: tuple[int, int]) -> Tensor:
        """Join crops to lines of the whole image, each followed by a separator: [num_rows, 4 * size]."""
        lines = crops.unflatten(0, grid).transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [num_lines, blocks, size]
        separators = self.line_separator.expand(len(lines), 1, -1)
        return torch.cat([lines, separators], dim=1).flatten(0, 1)


class PatchEncoder(CLIPVisionEncoder):
    """CLIP's vision encoder up to a selected layer, without the final norm and the class token.

    Attributes:
        published_layers: Number of layers in the checkpoint.
    """

    def __init__(self, ctx: Context) -> None:
        vision = ctx.config["vision_config"]
        if square_side(vision) % 2 or vision["image_size"] % vision["patch_size"]:
            message = (
                f"config.json: unsupported image_size {vision['image_size']} with patch_size {vision['patch_size']}: "
                "the image size must be an even number of patches"
            )
            raise CheckpointError(message)
        total = vision.num_hidden_layers
        super().__init__(
            replace(ctx, config=vision.overridden({"num_hidden_layers": _num_computed_layers(ctx, total)}))
        )
        self.published_layers = total
        self.norm = nn.Identity()  # type: ignore[assignment]  # same signature

    def encode(self, crops: Tensor, device: torch.device) -> Tensor:
        """[num_crops, num_patches, patch ** 2 * channels] -> [num_crops, num_patches, hidden_size]."""
        num_crops, num_patches = crops.shape[:2]
        batch = PackedBatch.pack(
            [torch.zeros(num_patches + 1, dtype=torch.long)] * num_crops,
            features=[{PIXELS: crop, GRID: (self.side, self.side)} for crop in crops.numpy()],
            device=device,
        )
        patches: Tensor = self(batch)[other_rows(batch)]
        hidden_states: Tensor = patches.unflatten(0, (num_crops, num_patches))
        return hidden_states


def _check(ctx: Context) -> None:
    """Raise CheckpointError for unsupported image settings."""
    for key, supported in SUPPORTED.items():
        settings = ctx.config.get(key) or {}
        for name, value in supported.items():
            if settings.get(name, value) != value:
                message = f"config.json: unsupported {name} {settings[name]!r} in {key}. Supported: {value!r}"
                raise CheckpointError(message)
    settings, size = ctx.config.get("img_processor") or {}, ctx.config["vision_config"].hidden_size
    if settings.get("image_dim_out", size) != size:
        message = (
            f"config.json: image_dim_out {settings['image_dim_out']} in img_processor differs from the hidden size "
            f"{size} of the vision encoder: set the sizes of another one with hf_overrides={{'vision_config': ...}}"
        )
        raise CheckpointError(message)


def _transform_order(ctx: Context) -> str:
    """Return the order of the whole image ("glb") and its crops ("sub")."""
    settings = ctx.config.get("embd_layer") or {}
    order: str = settings.get("hd_transform_order", "glb_sub")
    if order not in TRANSFORM_ORDERS:
        message = (
            f"config.json: unknown hd_transform_order {order!r} in embd_layer. Available: {', '.join(TRANSFORM_ORDERS)}"
        )
        raise CheckpointError(message)
    return order


def _num_computed_layers(ctx: Context, total: int) -> int:
    """Return the number of layers up to ``layer_idx``, by default the last but one."""
    index = (ctx.config.get("img_processor") or {}).get("layer_idx", -2)
    if isinstance(index, bool) or not isinstance(index, int) or not -total <= index < total + 1:
        message = f"config.json: layer_idx {index!r} in img_processor is out of range: there are {total} layers"
        raise CheckpointError(message)
    return index if index >= 0 else total + 1 + index
