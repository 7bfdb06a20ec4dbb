"""CLIPModel: a tower of text and one of images (Radford et al., 2021, arXiv 2103.00020)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch
from millpond_models.layers.norm import LayerNorm
from millpond_models.towers import ImageTower, TextTower, TwoTowers, last_rows, other_rows, square_side


class CLIPModel(TwoTowers):
    """CLIP: the last token of a text, or the class token of an image, through a projection."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *TwoTowers.weight_names,
        (r"vision_model\.embeddings\.class_embedding", r"vision.whole"),
        (r"vision_model\.pre_layrnorm\.(\w+)", r"vision.first_norm.\1"),
        (r"text_projection\.weight", r"text_projection.weight"),
        (r"visual_projection\.weight", r"vision_projection.weight"),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        text, vision = ctx.for_part("text_config"), ctx.for_part("vision_config")
        self.text = TextTower(text, causal=True)
        self.vision = ClassTokenTower(vision)
        self.text_projection = Linear(ctx, text.config.hidden_size, ctx.config.projection_dim, bias=False)
        self.vision_projection = Linear(ctx, vision.config.hidden_size, ctx.config.projection_dim, bias=False)

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, projection_dim]."""
        projected: Tensor = self.text_projection(self.text(batch))
        return projected

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, projection_dim]."""
        projected: Tensor = self.vision_projection(self.vision(batch))
        return projected


class ClassTokenTower(ImageTower):
    """Patches and a token for all of them, which attends to them like one more; the first position is that token's."""

    def __init__(self, ctx: Context) -> None:
        side = square_side(ctx.config)
        super().__init__(ctx, num_positions=side**2 + 1, side=side, bias=False)
        self.whole = nn.Parameter(torch.empty(ctx.config.hidden_size), requires_grad=False)
        self.first_norm = LayerNorm(ctx.config.hidden_size, float(ctx.config.layer_norm_eps))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, hidden]."""
        self.check_grids(batch)
        places = self.positions.weight
        x = torch.empty(batch.num_tokens, len(self.whole), dtype=self.dtype, device=batch.input_ids.device)
        x[last_rows(batch)] = self.whole + places[0]
        x[other_rows(batch)] = self.read(batch) + places[1:].repeat(batch.num_seqs, 1)
        x = self.first_norm(x)
        plain = replace(batch, features=())
        for layer in self.layers:
            x = layer(x, plain)
        normed: Tensor = self.norm(x)
        return normed
