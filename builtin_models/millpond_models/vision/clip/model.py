"""CLIPModel: a tower of text and one of images (Radford et al., 2021, arXiv 2103.00020)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, Pooler, PoolingMetadata
from millpond_models.layers.norm import LayerNorm
from millpond_models.vision.dual_encoder import DualEncoder, ImageTower, TextTower, last_rows, other_rows, square_side

LAST = "LAST"
END = 49407  # of a text, where config.json does not say
LARGEST = 2  # as ``eos_token_id`` of older files: not this token ends a text, but the one of the largest id


class CLIPModel(DualEncoder):
    """CLIP: the token that ends a text, or the class token of an image, through a projection."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DualEncoder.weight_names,
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

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler; ``LAST`` is the first token that ends a text."""
        pooler = ctx.pooler(task)
        end = ctx.for_part("text_config").config.get("eos_token_id", END)
        return TextEnd(pooler, end) if ctx.pooling_type(task) == LAST else pooler

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, projection_dim]."""
        projected: Tensor = self.text_projection(self.text(batch))
        return projected

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, projection_dim]."""
        projected: Tensor = self.vision_projection(self.vision(batch))
        return projected


class TextEnd(nn.Module):
    """A pooler of the last token, for which texts end with the first token that ends texts, if they hold one.

    What is behind it says nothing then, for no token before attends to it. The ids of an image are 0: it ends where it
    does.
    """

    def __init__(self, pooler: Pooler, end: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check
        self.end = end

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, dim] -> [num_seqs, dim]."""
        rows = self.rows(metadata)
        alone = replace(metadata, lengths=(1,) * len(metadata.lengths), input_ids=metadata.input_ids[rows], starts=())
        pooled: Tensor | list[Tensor] = self.pooler(hidden_states[rows], alone)
        return pooled

    def rows(self, metadata: PoolingMetadata) -> Tensor:
        """The row that stands for each sequence, [num_seqs]."""
        ids, last = metadata.input_ids, metadata.last
        if self.end != LARGEST:
            places = (ids == self.end).nonzero().squeeze(1)
            return last.scatter_reduce(0, torch.bucketize(places, last), places, "amin")
        ends = ids == ids.max()
        if bool(ends[last].all()) and int(ends.sum()) == len(last):  # each text ends with it, and none holds it within
            return last
        found = [int(part.argmax()) if part.any() else len(part) - 1 for part in ids.split(list(metadata.lengths))]
        return metadata.first + torch.tensor(found, device=ids.device)


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
