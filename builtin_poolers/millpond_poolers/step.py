"""STEP: the classes of the tokens that end a step, as process-reward models give them (arXiv 2305.20050)."""

from collections import defaultdict

import torch
from torch import Tensor

from millpond.context import PoolerContext
from millpond.nn import Pooler, PoolingMetadata
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams


class StepPooling(Pooler):
    """STEP: the tokens whose id is ``step_tag_id``, or all without one; the head sees no others.

    ``returned_token_ids`` names tokens where the head gives logits of tokens, and the activation is over these alone.
    Of a head with classes of its own it names the classes that are returned, out of the activation over all.
    """

    def __init__(self, ctx: PoolerContext) -> None:
        super().__init__(ctx)
        self.task = ctx.task_spec.name
        self.num_labels = ctx.model.classification.num_labels
        self.takes_tokens: bool = getattr(self.head, "takes_tokens", False)

    def check(self, params: PoolingParams) -> None:
        """Refuse ``returned_token_ids`` that the head cannot give; see ``Pooler``."""
        wanted = params.returned_token_ids or ()
        if self.takes_tokens and self.head is not None:
            self.head.check(wanted)  # type: ignore[operator]  # of TokenLogits, which takes tokens
            return
        if wanted and self.task == "token_embed":
            message = "returned_token_ids selects classes, and the task token_embed gives vectors: leave it out"
            raise InvalidInputError(message, parameter="returned_token_ids")
        if wanted and max(wanted) >= self.num_labels:
            message = f"returned_token_ids={list(wanted)}: the model gives {self.num_labels} classes, counted from 0"
            raise InvalidInputError(message, parameter="returned_token_ids")

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, hidden]."""
        lengths = list(metadata.lengths)
        each = zip(hidden_states.split(lengths), metadata.input_ids.split(lengths), metadata.params, strict=True)
        return [rows if own.step_tag_id is None else rows[ids == own.step_tag_id] for rows, ids, own in each]

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, number of classes]."""
        pooled = self.pool(hidden_states, metadata)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, own in enumerate(metadata.params):
            alike[own.returned_token_ids or ()].append(place)
        finished = list(pooled)
        for wanted, places in alike.items():
            rows = self._apply_head(torch.cat([pooled[place] for place in places]).float(), wanted)
            parts = rows.split([len(pooled[place]) for place in places])
            for place, part in zip(places, parts, strict=True):
                result = self._finish(part, metadata.params[place])
                finished[place] = result[..., list(wanted)] if wanted and not self.takes_tokens else result
        return finished

    def _apply_head(self, rows: Tensor, wanted: tuple[int, ...]) -> Tensor:
        if self.head is None:
            return rows
        found: Tensor = self.head(rows, wanted) if self.takes_tokens else self.head(rows)
        return found
