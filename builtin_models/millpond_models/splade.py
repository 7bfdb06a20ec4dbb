"""SPLADE: encoders whose head for masked tokens gives each token of the vocabulary a weight."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Linear, PoolingModel
from millpond.nn.placement import Placement, place_weight
from millpond_models.bert import BertModel
from millpond_models.layers.between import Between
from millpond_models.layers.feed_forward import hidden_activation
from millpond_models.layers.norm_head import HeadNorm
from millpond_models.token_rows import EMBEDDINGS

# BERT's names, then RoBERTa's.
HEAD_NAMES: Sequence[tuple[str, str]] = (
    (r"cls\.predictions\.transform\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:weight|gamma)", r"mlm.norm.weight"),
    (r"cls\.predictions\.transform\.LayerNorm\.(?:bias|beta)", r"mlm.norm.bias"),
    (r"cls\.predictions\.decoder\.(weight|bias)", r"mlm.decoder.\1"),
    (r"cls\.predictions\.bias", r"mlm.decoder.bias"),
    (r"lm_head\.dense\.(weight|bias)", r"mlm.dense.\1"),
    (r"lm_head\.layer_norm\.(weight|bias)", r"mlm.norm.\1"),
    (r"lm_head\.decoder\.(weight|bias)", r"mlm.decoder.\1"),
    (r"lm_head\.bias", r"mlm.decoder.bias"),
)


class MaskedHead(nn.Module):
    """``decoder(norm(activation(dense(x))))``: hidden states to the logits of all tokens."""

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        config = ctx.config
        # RoBERTa's head has the exact GELU whatever the layers have.
        name = config.get("hidden_act", "gelu") if config.get("model_type", "bert") == "bert" else "gelu"
        self.dense = Linear(ctx, config.hidden_size, config.hidden_size)
        self.activation = hidden_activation(name)
        self.norm = HeadNorm(config.hidden_size, float(config.get("layer_norm_eps", 1e-12)))
        self.decoder = Linear(ctx, config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, vocabulary]."""
        logits: Tensor = self.decoder(self.norm(self.activation(self.dense(x))))
        return logits


class Splade(PoolingModel):
    """A model with the head for masked tokens behind it, for the task ``embed``; ``token_embed`` goes without."""

    mlm: MaskedHead

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The head within the pooler, which applies it to few rows at a time."""
        if task != "embed":
            return ctx.pooler(task)
        self.mlm = MaskedHead(ctx.for_head())
        return ctx.pooler(task, head=self.mlm, activation="identity")

    def parameter_name(self, name: str) -> str | None:
        """The head's, else as the model says."""
        for pattern, replacement in HEAD_NAMES:
            match = re.fullmatch(pattern, name)
            if match:
                return match.expand(replacement)
        return super().parameter_name(name)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Placement:
        """Give the parameters their values; a head without a table of its own gets that of the embeddings.

        Raises:
            CheckpointError: If config.json says that there is one, and there is none.
        """
        tables: list[Tensor] = []
        placement = super().load_weights(self._watched(weights, tables))
        if "mlm.decoder.weight" in placement.placed or not tables:
            return placement
        if self.ctx.config.get("tie_word_embeddings", True) is False:
            message = "config.json says tie_word_embeddings=false, and the head for masked tokens has no decoder.weight"
            raise CheckpointError(message)
        place_weight(self, "mlm.decoder.weight", tables[0], dtype=torch.float32, device=self.ctx.device)
        placement.placed.add("mlm.decoder.weight")
        return placement

    def _watched(self, weights: Iterable[tuple[str, Tensor]], tables: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if EMBEDDINGS.fullmatch(name):
                tables.append(tensor)
            yield name, tensor


class BertSplade(Splade, BertModel):
    """SPLADE of BERT; the tokens that config.json names [CLS] and [SEP] are left out at the ends of a text."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = BertModel.weight_names

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler, for ``embed`` of what lies between [CLS] and [SEP] if config.json says which these are."""
        pooler = super().build_pooler(ctx, task)
        first, last = (ctx.config.get(f"{role}_token_id") for role in ("cls", "sep"))
        if task != "embed" or first == last is None:
            return pooler
        return Between(pooler, first, last, empty=(ctx.config.vocab_size,))


def as_splade(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """A masked language model as a sparse encoder."""
    del ctx
    return type(model_class.__name__, (Splade, model_class), {"__doc__": Splade.__doc__})
