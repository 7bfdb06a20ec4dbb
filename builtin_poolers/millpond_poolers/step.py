"""STEP: the classes of the tokens that end a step, for process reward models (arXiv 2305.20050)."""

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from millpond.context import PoolerContext
from millpond.nn import Pooler, PoolingMetadata, to_device
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StepPooling(Pooler):
    """STEP: the tokens with the id ``step_tag_id``, or all tokens if it is not set; the head reads only these.

    If the head computes logits of vocabulary tokens, ``returned_token_ids`` selects the tokens, and the activation is
    applied to their logits only. If the head has its own classes, the activation is applied to all classes and
    ``returned_token_ids`` selects the classes to return.
    """

    def __init__(self, ctx: PoolerContext) -> None:
        super().__init__(ctx)
        self.task = ctx.task_spec.name
        self.num_labels = ctx.model.classification.num_labels
        self.takes_tokens: bool = getattr(self.head, "takes_tokens", False)

    def check(self, params: PoolingParams) -> None:
        """Reject ``returned_token_ids`` that the head does not have; see ``Pooler.check``."""
        selected = params.returned_token_ids or ()
        if self.takes_tokens and self.head is not None:
            self.head.check(selected)  # type: ignore[operator]  # of TokenLogits, which takes tokens
            return
        if selected and self.task == "token_embed":
            message = "returned_token_ids selects classes, but the task token_embed returns vectors: leave it out"
            raise InvalidInputError(message, parameter="returned_token_ids")
        if selected and max(selected) >= self.num_labels:
            message = f"returned_token_ids={list(selected)}: the model has {self.num_labels} classes, counted from 0"
            raise InvalidInputError(message, parameter="returned_token_ids")

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, hidden]."""
        sequences = hidden_states.split(list(metadata.lengths))
        if all(params.step_tag_id is None for params in metadata.params):
            return list(sequences)
        ids, offsets = metadata.read_ids(), metadata.offsets
        return [
            rows if params.step_tag_id is None else rows[_places(ids[offsets[i] : offsets[i + 1]], params, rows.device)]
            for i, (rows, params) in enumerate(zip(sequences, metadata.params, strict=True))
        ]

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, number of classes]."""
        pooled = self.pool(hidden_states, metadata)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)  # sequences with the same returned_token_ids
        for index, params in enumerate(metadata.params):
            groups[params.returned_token_ids or ()].append(index)
        finished = list(pooled)
        for selected, indices in groups.items():
            rows = self._apply_head(torch.cat([pooled[i] for i in indices]).float(), selected)
            parts = rows.split([len(pooled[i]) for i in indices])
            for i, part in zip(indices, parts, strict=True):
                activated = self._finish(part, metadata.params[i])
                finished[i] = activated[..., list(selected)] if selected and not self.takes_tokens else activated
        return finished

    def _apply_head(self, rows: Tensor, selected: tuple[int, ...]) -> Tensor:
        if self.head is None:
            return rows
        logits: Tensor = self.head(rows, selected) if self.takes_tokens else self.head(rows)
        return logits


def _places(ids: "NDArray[np.int64]", params: PoolingParams, device: torch.device) -> Tensor:
    """Return the places of the step tag in a sequence, found on the host, [steps]."""
    return to_device(torch.from_numpy(np.flatnonzero(ids == params.step_tag_id)), device)
