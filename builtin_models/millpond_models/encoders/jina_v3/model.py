"""XLM-RoBERTa (Conneau et al., 2019, arXiv 1911.02116) and jina-embeddings-v3.

With ``"position_embedding_type": "rotary"``, the model has a rotary embedding instead of position embeddings, and
checkpoints may contain adapters (Sturua et al., 2024, arXiv 2409.10173), selected per sequence. Published files of both
name ``XLMRobertaModel``, so one class runs both.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final

import torch
from torch import Tensor

from millpond.context import ModelContext
from millpond.nn import LoadedWeights, PackedBatch
from millpond.types.errors import InvalidInputError
from millpond_models.encoders.bert.model import check_positions
from millpond_models.encoders.flash_names import FLASH_NAMES
from millpond_models.encoders.jina_v3.adapted import with_updates
from millpond_models.encoders.jina_v3.adapters import Adapters, LowRank, updates_by_module
from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.encoders.rotary_bert import head_dim_of, rotary_of
from millpond_models.encoders.transformers_names import TRANSFORMERS_NAMES
from millpond_models.layers.rotary import Rotary

PUBLISHED_NAME: Final = "XLMRobertaModel"  # in config.json; used in error messages


class JinaXLMRobertaModel(RobertaModel):
    """XLM-RoBERTa with position or rotary embeddings, and with adapters.

    Attributes:
        merged_adapter: Name of the adapter merged into the weights; None for none.
        adapted: The model with each of the other adapters, by name; only updated modules are copied.
    """

    merged_adapter: str | None = None
    adapted: "Mapping[str, JinaXLMRobertaModel]" = MappingProxyType({})

    weight_names: ClassVar = (*RobertaModel.weight_names, *FLASH_NAMES, *TRANSFORMERS_NAMES)

    def build_rotary(self, ctx: ModelContext) -> Rotary | None:
        """Build the rotary embedding if config.json requests it; ``rotary_emb_base`` is its base."""
        position_type = check_positions(ctx, PUBLISHED_NAME, "absolute", "rotary")
        return rotary_of(ctx, theta=ctx.config.get("rotary_emb_base", 10_000.0)) if position_type == "rotary" else None

    def head_dim(self, ctx: ModelContext) -> int | None:
        """Return the dimensions of a head; ``head_dim`` of config.json applies to rotary embeddings only."""
        return None if self.rotary is None else head_dim_of(ctx)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters, merging one adapter if the checkpoint contains adapters."""
        adapters = Adapters(self.ctx.config)
        loaded = super().load_weights(adapters.merge(weights))
        self.merged_adapter = adapters.merged
        self._adapt(adapters.updates)
        return loaded

    def load_adapters(self, adapters: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]) -> None:
        """Add the adapters stored in separate files."""
        self._adapt(
            {
                name: {weight: LowRank(*tensors) for weight, tensors in updates.items()}
                for name, updates in adapters.items()
            }
        )

    def _adapt(self, adapters: Mapping[str, Mapping[str, LowRank]]) -> None:
        modules = {name: self._by_module(updates) for name, updates in adapters.items()}
        adapted = {name: with_updates(self, updates, self.ctx) for name, updates in modules.items()}
        self.adapted = {**self.adapted, **adapted}

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed batch -> hidden states [num_tokens, hidden_size], computed adapter by adapter."""
        selected = [None if name == self.merged_adapter else name for name in batch.adapters]
        if not any(selected):
            return super().forward(batch)
        outputs: list[Tensor] = [batch.input_ids] * batch.num_seqs
        for name in dict.fromkeys(selected):
            indices = [index for index, adapter in enumerate(selected) if adapter == name]
            group = batch.select(indices)
            hidden = super().forward(group) if name is None else self._adapted(name)(group)
            for index, sequence in zip(indices, hidden.split(group.lengths), strict=True):
                outputs[index] = sequence
        return torch.cat(outputs)

    def _adapted(self, name: str) -> "JinaXLMRobertaModel":
        if name not in self.adapted:
            message = f"adapter={name!r}: config.json lists it, but the checkpoint's weights contain no adapters"
            raise InvalidInputError(message, parameter="adapter")
        return self.adapted[name]

    def _by_module(self, updates: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the updates by the path of the module that a checkpoint's weight belongs to."""
        targets = self.adapter_changes({weight: (update.up, update.down) for weight, update in updates.items()})
        return updates_by_module(self, {target: LowRank(*update) for target, update in targets.items()})
