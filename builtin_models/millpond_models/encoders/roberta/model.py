"""RobertaModel and its kind: BERT whose positions start behind the padding id (arXiv 1907.11692, 1911.02116).

With ``"position_embedding_type": "rotary"`` it is Jina's XLM-RoBERTa, without a table of positions, whose checkpoints
hold adapters for several tasks (Sturua et al., 2024, arXiv 2409.10173), of which each sequence may have its own.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from millpond.context import Context
from millpond.loading.lengths import padding_id
from millpond.nn import PackedBatch
from millpond.nn.placement import Placement
from millpond.types.errors import InvalidInputError
from millpond_models.encoders.bert.model import BertModel, check_positions
from millpond_models.encoders.flash_names import FLASH_NAMES
from millpond_models.encoders.jina_v3.adapted import with_changes
from millpond_models.encoders.jina_v3.adapters import Adapters, LowRank, changes_by_module
from millpond_models.encoders.rotary_bert import head_dim_of, rotary_of
from millpond_models.encoders.transformers_names import TRANSFORMERS_NAMES
from millpond_models.layers.rotary import Rotary


class RobertaModel(BertModel):
    """BERT's layers and weight names; the first token of a text has the position ``pad_token_id + 1``.

    Attributes:
        merged_adapter: The name of the adapter that is merged into the weights; None for none.
        adapted: The model as each other adapter makes it, by its name; they share all but what that changes.
    """

    merged_adapter: str | None = None
    adapted: "Mapping[str, RobertaModel]" = MappingProxyType({})

    weight_prefixes = ("roberta.", "model.")
    weight_names: ClassVar = (*BertModel.weight_names, *FLASH_NAMES, *TRANSFORMERS_NAMES)

    def first_position(self, ctx: Context) -> int:
        """The row of the position table that the first token of a sequence gets."""
        return padding_id(ctx.config) + 1

    def build_rotary(self, ctx: Context) -> Rotary | None:
        """Positions by rotation where config.json asks for them; ``rotary_emb_base`` is the base of the frequencies."""
        kind = check_positions(ctx, type(self).__name__, "absolute", "rotary")
        return rotary_of(ctx, theta=ctx.config.get("rotary_emb_base", 10_000.0)) if kind == "rotary" else None

    def head_dim(self, ctx: Context) -> int | None:
        """The dimensions of a head; ``head_dim`` where positions are by rotation."""
        return None if self.rotary is None else head_dim_of(ctx)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Placement:
        """Give the parameters their values, those of one adapter merged into them where there are adapters."""
        adapters = Adapters(self.ctx.config)
        placement = super().load_weights(adapters.merge(weights))
        self.merged_adapter = adapters.merged
        self._adapt(adapters.changes)
        return placement

    def load_adapters(self, adapters: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> None:
        """Take the adapters that lie beside the weights."""
        self._adapt({name: {at: LowRank(*it) for at, it in own.items()} for name, own in adapters.items()})

    def _adapt(self, adapters: Mapping[str, Mapping[str, LowRank]]) -> None:
        changes = {name: self._by_path(own) for name, own in adapters.items()}
        self.adapted = {**self.adapted, **{name: with_changes(self, own, self.ctx) for name, own in changes.items()}}

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]; the sequences of each adapter are a batch of their own."""
        chosen = [None if name == self.merged_adapter else name for name in batch.adapters]
        if not any(chosen):
            return super().forward(batch)
        rows: list[Tensor] = [batch.input_ids] * batch.num_seqs
        for name in dict.fromkeys(chosen):
            places = [place for place, own in enumerate(chosen) if own == name]
            own = batch.select(places)
            hidden = super().forward(own) if name is None else self._adapted(name)(own)
            for place, part in zip(places, hidden.split(own.lengths), strict=True):
                rows[place] = part
        return torch.cat(rows)

    def _adapted(self, name: str) -> "RobertaModel":
        if name not in self.adapted:
            message = f"adapter={name!r}: config.json names it, and the checkpoint's weights have no adapters"
            raise InvalidInputError(message, parameter="adapter")
        return self.adapted[name]

    def _by_path(self, changes: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
        """The changes by the paths of the modules that the checkpoint's weights belong to."""
        targets = self.adapter_changes({weight: (change.up, change.down) for weight, change in changes.items()})
        return changes_by_module(self, {target: LowRank(*change) for target, change in targets.items()})
