"""CLIPModel: a text encoder and a vision transformer with a class token (Radford et al., 2021, arXiv 2103.00020)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PackedBatch, PoolingMetadata, to_device
from millpond_models.layers.norm import LayerNorm
from millpond_models.vision.dual_encoder import (
    DualEncoder,
    TextEncoder,
    VisionEncoder,
    last_rows,
    other_rows,
    square_side,
)

LAST = "LAST"
DEFAULT_EOS_ID = 49407
LEGACY_EOS_ID = 2  # ``eos_token_id`` of older files, whose texts end with the token of the largest ID instead


class CLIPModel(DualEncoder):
    """CLIP: projections of the end-of-text token of a text and of the class token of an image."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *DualEncoder.weight_names,
        (r"vision_model\.embeddings\.class_embedding", r"vision.class_embedding"),
        (r"vision_model\.pre_layrnorm\.(\w+)", r"vision.pre_norm.\1"),
        (r"text_projection\.weight", r"text_projection.weight"),
        (r"visual_projection\.weight", r"vision_projection.weight"),
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        text, vision = ctx.for_part("text_config"), ctx.for_part("vision_config")
        self.text = TextEncoder(text, causal=True)
        self.vision = CLIPVisionEncoder(vision)
        self.text_projection = Linear(ctx, text.config.hidden_size, ctx.config.projection_dim, bias=False)
        self.vision_projection = Linear(ctx, vision.config.hidden_size, ctx.config.projection_dim, bias=False)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler; ``LAST`` pools the first end-of-text token."""
        pooler = ctx.pooler(task)
        eos_id = ctx.for_part("text_config").config.get("eos_token_id", DEFAULT_EOS_ID)
        return EndOfTextPooling(pooler, eos_id) if ctx.pooling_type(task) == LAST else pooler

    def embed_text(self, batch: PackedBatch) -> Tensor:
        """A batch of texts -> [num_tokens, projection_dim]."""
        projected: Tensor = self.text_projection(self.text(batch))
        return projected

    def embed_images(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, projection_dim]."""
        projected: Tensor = self.vision_projection(self.vision(batch))
        return projected


class EndOfTextPooling(nn.Module):
    """Passes the first end-of-text token of each sequence to a pooler, or the last token of sequences without one.

    Later tokens have no influence, because attention is causal. The token IDs of an image are 0, so its last token is
    pooled.
    """

    def __init__(self, pooler: nn.Module, eos_id: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check
        self.eos_id = eos_id

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, dim] -> [num_seqs, dim]."""
        rows = self.rows(metadata)
        selected = replace(
            metadata,
            lengths=(1,) * len(metadata.lengths),
            input_ids=metadata.input_ids[rows],
            starts=(),
            ids_on_host=None,
        )
        pooled: Tensor | list[Tensor] = self.pooler(hidden_states[rows], selected)
        return pooled

    def rows(self, metadata: PoolingMetadata) -> Tensor:
        """Return the row that is pooled for each sequence, [num_seqs]."""
        ids, last = metadata.input_ids, metadata.last
        if self.eos_id != LEGACY_EOS_ID:
            rows = torch.arange(len(ids), device=ids.device)
            ends = torch.where(ids == self.eos_id, rows, len(ids))
            return last.scatter_reduce(0, torch.bucketize(rows, last), ends, "amin")
        pooled_rows = [
            start + int(sequence.argmax()) if sequence.any() else stop - 1
            for start, stop in pairwise(metadata.offsets)
            for sequence in (metadata.read_ids()[start:stop],)
        ]
        return to_device(torch.tensor(pooled_rows), ids.device)


class CLIPVisionEncoder(VisionEncoder):
    """Vision transformer with a class token, which has the first position embedding."""

    def __init__(self, ctx: Context) -> None:
        side = square_side(ctx.config)
        super().__init__(ctx, num_positions=side**2 + 1, side=side, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(ctx.config.hidden_size), requires_grad=False)
        self.pre_norm = LayerNorm(ctx.config.hidden_size, float(ctx.config.layer_norm_eps))

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of images -> [num_tokens, hidden_size]."""
        self.check_grids(batch)
        positions = self.position_embedding.weight
        hidden_states = torch.empty(
            batch.num_tokens, len(self.class_embedding), dtype=self.dtype, device=batch.input_ids.device
        )
        hidden_states[last_rows(batch)] = self.class_embedding + positions[0]
        hidden_states[other_rows(batch)] = self.embed_patches(batch) + positions[1:].repeat(batch.num_seqs, 1)
        hidden_states = self.pre_norm(hidden_states)
        without_features = replace(batch, features=())
        for layer in self.layers:
            hidden_states = layer(hidden_states, without_features)
        normed: Tensor = self.norm(hidden_states)
        return normed
