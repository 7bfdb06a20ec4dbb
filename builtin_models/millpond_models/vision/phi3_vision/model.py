"""Phi3VForCausalLM: Phi-3 that reads images among tokens, by a tower of CLIP's (Abdin et al., 2024, arXiv 2404.14219).

An image is squares of patches, as ``phi3_images`` cuts them: first the whole, then its parts, by rows and columns.
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
from millpond_models.vision.clip.model import ClassTokenTower, CLIPModel
from millpond_models.vision.dual_encoder import GRID, PATCHES, PIXELS, other_rows, square_side
from millpond_models.vision.image_rows import with_image_rows
from millpond_models.vision.phi3_vision.images import GRIDS, SQUARES

TOWER = r"vision_embed_tokens\.img_processor\."
TOWER_LAYER = re.compile(r"images\.vision\.layers\.(\d+)\..*")
# They are stored with dimensions of one before their own.
SEPARATORS = WeightTransform(
    sources=(r"vision_embed_tokens\.(?:glb_GN|sub_GN)",), compute=lambda _, tensor: tensor.flatten()
)
ORDERS = ("sub_glb", "glb_sub")
MERGED = 4  # patches, two by two
KNOWN: Mapping[str, Mapping[str, object]] = {
    "img_processor": {"name": "clip_vision_model", "type_feature": "patch"},
    "embd_layer": {
        "embedding_cls": "image",
        "projection_cls": "mlp",
        "use_hd_transform": True,
        "with_learnable_separator": True,
    },
}


class Phi3VForCausalLM(Phi3Model):
    """Phi-3-vision without its head for the next token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *((TOWER + pattern, f"images.{name}") for pattern, name in CLIPModel.weight_names if "projection" not in name),
        (r"vision_embed_tokens\.glb_GN", r"images.between"),
        (r"vision_embed_tokens\.sub_GN", r"images.line_end"),
        (r"vision_embed_tokens\.img_projection\.0\.(\w+)", r"images.inner.\1"),
        (r"vision_embed_tokens\.img_projection\.2\.(\w+)", r"images.outer.\1"),
        *Phi3Model.weight_names,
    )
    weight_transforms: ClassVar[Sequence[WeightTransform]] = (PATCHES, SEPARATORS)
    ignored_weights: ClassVar[Sequence[str]] = (
        *Phi3Model.ignored_weights,
        r"vision_embed_tokens\.wte\.weight",  # the table of tokens once more
        TOWER + r"vision_model\.(?:post_layernorm\.\w+|embeddings\.position_ids)",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.images = ImageEmbeddings(ctx)

    def embed(self, batch: PackedBatch) -> Tensor:
        """The vectors of tokens and, where images stand, of these: [num_tokens, hidden]."""
        return with_image_rows(super().embed(batch), batch, self.images)

    def parameter_name(self, name: str) -> str | None:
        """The name of the parameter; layers of the tower behind those that are read are left out."""
        target = super().parameter_name(name)
        layer = TOWER_LAYER.fullmatch(target or "")
        tower = self.images.vision
        return None if layer and len(tower.layers) <= int(layer[1]) < tower.published_layers else target


class ImageEmbeddings(nn.Module):
    """Images as rows for a language model: four patches a row, marks between lines and squares, and two maps."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        _check(ctx)
        size, wide = ctx.config.hidden_size, MERGED * ctx.config["vision_config"].hidden_size
        self.whole_first = _order(ctx) == "glb_sub"
        self.vision = PatchTower(ctx)
        self.line_end = nn.Parameter(torch.empty(wide), requires_grad=False)
        self.between = nn.Parameter(torch.empty(wide), requires_grad=False)
        self.inner = Linear(ctx, wide, size)
        self.outer = Linear(ctx, size, size)
        self.activation = hidden_activation(ctx, "gelu")

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        """The features of a prompt -> its images, end to end, [num_rows, hidden]."""
        squares = torch.from_numpy(features[SQUARES])  # [num_squares, num_patches, patch ** 2 * channels]
        grids = [(int(rows), int(columns)) for rows, columns in features[GRIDS]]
        parts = squares.split([1 + rows * columns for rows, columns in grids])
        rows = torch.cat([self._rows(part, grid) for part, grid in zip(parts, grids, strict=True)])
        mapped: Tensor = self.outer(self.activation(self.inner(rows)))
        return mapped

    def _rows(self, squares: Tensor, grid: tuple[int, int]) -> Tensor:
        """The squares of an image -> [num_rows, 4 * the size of the tower]."""
        merged = self._merged(self.vision.patches_of(squares, self.between.device))
        whole, parts = self._lines(merged[:1], (1, 1)), self._lines(merged[1:], grid)
        ordered = (whole, parts) if self.whole_first else (parts, whole)
        return torch.cat([ordered[0], self.between.unsqueeze(0), ordered[1]])

    def _merged(self, hidden: Tensor) -> Tensor:
        """[squares, side ** 2, size] -> [squares, side / 2, side / 2, 4 * size]: two by two, row by row."""
        half = self.vision.side // 2
        pairs = hidden.unflatten(1, (half, 2, half, 2)).permute(0, 1, 3, 2, 4, 5)
        merged: Tensor = pairs.flatten(3)
        return merged

    def _lines(self, squares: Tensor, grid: tuple[int, int]) -> Tensor:
        """Squares side by side, line by line, with a row at the end of each line."""
        lines = squares.unflatten(0, grid).transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [lines, rows in one, size]
        ends = self.line_end.expand(len(lines), 1, -1)
        return torch.cat([lines, ends], dim=1).flatten(0, 1)


class PatchTower(ClassTokenTower):
    """CLIP's tower up to the layer that is read, without the norm behind the last: a row for each patch.

    Attributes:
        published_layers: How many layers the checkpoint has.
    """

    def __init__(self, ctx: Context) -> None:
        vision = ctx.config["vision_config"]
        if square_side(vision) % 2 or vision["image_size"] % vision["patch_size"]:
            message = (
                f"config.json: image_size {vision['image_size']} with patch_size {vision['patch_size']}; here a square "
                "is an even number of patches wide"
            )
            raise CheckpointError(message)
        total = vision.num_hidden_layers
        read = _layers_read(ctx, total)
        super().__init__(replace(ctx, config=vision.overridden({"num_hidden_layers": read})))
        self.published_layers = total
        self.norm = nn.Identity()  # type: ignore[assignment]  # takes and gives what the norm does

    def patches_of(self, squares: Tensor, device: torch.device) -> Tensor:
        """[num_squares, num_patches, patch ** 2 * channels] -> [num_squares, num_patches, hidden]."""
        count, patches = squares.shape[:2]
        batch = PackedBatch.pack(
            [torch.zeros(patches + 1, dtype=torch.long)] * count,
            features=[{PIXELS: square, GRID: (self.side, self.side)} for square in squares.numpy()],
            device=device,
        )
        hidden: Tensor = self(batch)[other_rows(batch)]
        rows: Tensor = hidden.unflatten(0, (count, patches))
        return rows


def _check(ctx: Context) -> None:
    """Refuse a config.json that asks for other images than those of Phi-3-vision."""
    for key, known in KNOWN.items():
        said = ctx.config.get(key) or {}
        for name, value in known.items():
            if said.get(name, value) != value:
                message = f"config.json: {name} {said[name]!r} in {key}; known is {value!r}"
                raise CheckpointError(message)
    said, size = ctx.config.get("img_processor") or {}, ctx.config["vision_config"].hidden_size
    if said.get("image_dim_out", size) != size:
        message = (
            f"config.json: image_dim_out {said['image_dim_out']} in img_processor, and the tower has hidden states of "
            f"{size}: hf_overrides={{'vision_config': ...}} says the sizes of another tower"
        )
        raise CheckpointError(message)


def _order(ctx: Context) -> str:
    """Which stands first, the parts of an image or the whole."""
    said = ctx.config.get("embd_layer") or {}
    order: str = said.get("hd_transform_order", "glb_sub")
    if order not in ORDERS:
        message = f"config.json: hd_transform_order {order!r} in embd_layer; known are {', '.join(ORDERS)}"
        raise CheckpointError(message)
    return order


def _layers_read(ctx: Context, total: int) -> int:
    """How many layers of the tower are computed: up to ``layer_idx``, the last but one where it is not said."""
    index = (ctx.config.get("img_processor") or {}).get("layer_idx", -2)
    if isinstance(index, bool) or not isinstance(index, int) or not -total <= index < total + 1:
        message = f"config.json: layer_idx {index!r} in img_processor, of a tower of {total} layers"
        raise CheckpointError(message)
    return index if index >= 0 else total + 1 + index
