"""STEP: the classes of the tokens that end a step, as process-reward models give them (arXiv 2305.20050)."""

from collections import defaultdict

import torch
from torch import Tensor

from millpond.context import Context
from millpond.errors import InvalidInputError
from millpond.nn import Pooler, PoolingMetadata


class StepPooling(Pooler):
    """STEP: the tokens whose id is ``step_tag_id``, or all without one; the head sees no others.

    ``returned_token_ids`` names tokens where the head gives logits of tokens, and the activation is over these alone.
    Of a head with classes of its own it names the classes that are returned, out of the activation over all.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.task = ctx.task_spec.name
        self.takes_tokens: bool = getattr(self.head, "takes_tokens", False)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, hidden]."""
        lengths = list(metadata.lengths)
        each = zip(hidden_states.split(lengths), metadata.input_ids.split(lengths), metadata.params, strict=True)
        return [rows if own.step_tag_id is None else rows[ids == own.step_tag_id] for rows, ids, own in each]

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [steps, number of classes].

        Raises:
            InvalidInputError: If ``returned_token_ids`` is not what the head can give.
        """
        pooled = self.pool(hidden_states, metadata)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, own in enumerate(metadata.params):
            alike[own.returned_token_ids or ()].append(place)
        finished = list(pooled)
        for wanted, places in alike.items():
            rows = self._apply_head(torch.cat([pooled[place] for place in places]).float(), wanted)
            parts = rows.split([len(pooled[place]) for place in places])
            for place, part in zip(places, parts, strict=True):
                finished[place] = self._chosen(self._finish(part, metadata.params[place]), wanted)
        return finished

    def _apply_head(self, rows: Tensor, wanted: tuple[int, ...]) -> Tensor:
        if self.head is None:
            return rows
        found: Tensor = self.head(rows, wanted) if self.takes_tokens else self.head(rows)
        return found

    def _chosen(self, rows: Tensor, wanted: tuple[int, ...]) -> Tensor:
        """Of the classes, those that are wanted."""
        if not wanted or self.takes_tokens:
            return rows
        if self.task == "token_embed":
            message = "returned_token_ids selects classes, and the task token_embed gives vectors: leave it out"
            raise InvalidInputError(message, parameter="returned_token_ids")
        if max(wanted) >= rows.shape[-1]:
            message = f"returned_token_ids={list(wanted)}: the model gives {rows.shape[-1]} classes, counted from 0"
            raise InvalidInputError(message, parameter="returned_token_ids")
        return rows[..., list(wanted)]
