"""XLM-RoBERTa (arXiv 1911.02116), with a table of positions, or as jina-embeddings-v3 has it.

With ``"position_embedding_type": "rotary"`` there is no table of positions, and checkpoints may contain adapters
(Sturua et al., 2024, arXiv 2409.10173), of which each sequence may have its own. Their published files name
``XLMRobertaModel`` as well, so that one class runs both.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import torch
from torch import Tensor

from millpond.context import ModelContext
from millpond.nn import PackedBatch
from millpond.nn.weight_loading import LoadedWeights
from millpond.types.errors import InvalidInputError
from millpond_models.encoders.bert.model import check_positions
from millpond_models.encoders.flash_names import FLASH_NAMES
from millpond_models.encoders.jina_v3.adapted import with_changes
from millpond_models.encoders.jina_v3.adapters import Adapters, LowRank, changes_by_module
from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.encoders.rotary_bert import head_dim_of, rotary_of
from millpond_models.encoders.transformers_names import TRANSFORMERS_NAMES
from millpond_models.layers.rotary import Rotary

NAME: Final = "XLMRobertaModel"  # in config.json, for errors


class JinaXLMRobertaModel(RobertaModel):
    """XLM-RoBERTa with positions by a table or by rotation, and with adapters.

    Attributes:
        merged_adapter: The name of the adapter that is merged into the weights; None for none.
        adapted: The model as each other adapter makes it, by its name; they share all but what that changes.
    """

    merged_adapter: str | None = None
    adapted: "Mapping[str, JinaXLMRobertaModel]" = MappingProxyType({})

    weight_names: ClassVar = (*RobertaModel.weight_names, *FLASH_NAMES, *TRANSFORMERS_NAMES)

    def build_rotary(self, ctx: ModelContext) -> Rotary | None:
        """Positions by rotation where config.json asks for them; ``rotary_emb_base`` is the base of the frequencies."""
        kind = check_positions(ctx, NAME, "absolute", "rotary")
        return rotary_of(ctx, theta=ctx.config.get("rotary_emb_base", 10_000.0)) if kind == "rotary" else None

    def head_dim(self, ctx: ModelContext) -> int | None:
        """The dimensions of a head; ``head_dim`` where positions are by rotation."""
        return None if self.rotary is None else head_dim_of(ctx)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values, those of one adapter merged into them where there are adapters."""
        adapters = Adapters(self.ctx.config)
        loaded = super().load_weights(adapters.merge(weights))
        self.merged_adapter = adapters.merged
        self._adapt(adapters.changes)
        return loaded

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

    def _adapted(self, name: str) -> "JinaXLMRobertaModel":
        if name not in self.adapted:
            message = f"adapter={name!r}: config.json names it, and the checkpoint's weights have no adapters"
            raise InvalidInputError(message, parameter="adapter")
        return self.adapted[name]

    def _by_path(self, changes: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
        """The changes by the paths of the modules that the checkpoint's weights belong to."""
        targets = self.adapter_changes({weight: (change.up, change.down) for weight, change in changes.items()})
        return changes_by_module(self, {target: LowRank(*change) for target, change in targets.items()})
