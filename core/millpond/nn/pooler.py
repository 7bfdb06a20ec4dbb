"""Pooler: from the hidden states of a packed batch to one tensor a sequence: a method, a head, an activation."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn.batch import PoolingMetadata
from millpond.params import PoolingParams


class Pooler(nn.Module):
    """Pools, applies the head, keeps the first ``dimensions``, and activates.

    A pooling method overrides ``pool`` alone. Heads and activations compute in float32.
    """

    def __init__(self, ctx: Context) -> None:
        super().__init__()
        self.head = ctx.projector if ctx.head is None else ctx.head
        self.activation = ctx.activation(ctx.activation_name or ctx.task_spec.default_activation)
        self.truncate_dim = ctx.model.truncate_dim if ctx.task == "embed" else None

    def check(self, params: PoolingParams) -> None:
        """Refuse what is asked of a sequence, before its batch is computed; by default nothing.

        Raises:
            InvalidInputError: If it cannot be given; names the parameter.
        """

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, hidden], or a list of num_seqs tensors [rows, hidden]."""
        raise NotImplementedError

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, dim], or a list of num_seqs tensors of any shape."""
        pooled = self.pool(hidden_states, metadata)
        if isinstance(pooled, Tensor):
            return self._finish_each(self._project(pooled), metadata.params)
        counts = [len(rows) for rows in pooled]
        rows = self._project(torch.cat(pooled))
        if _agree(metadata.params):
            return list(self._finish(rows, metadata.params[0]).split(counts))
        return [self._finish(part, own) for part, own in zip(rows.split(counts), metadata.params, strict=True)]

    def _project(self, rows: Tensor) -> Tensor:
        rows = rows.float()
        return rows if self.head is None else self.head(rows)

    def _finish_each(self, rows: Tensor, params: Sequence[PoolingParams]) -> Tensor | list[Tensor]:
        if _agree(params):
            return self._finish(rows, params[0])
        alike: dict[tuple[int | None, bool | None], list[int]] = defaultdict(list)
        for place, own in enumerate(params):
            alike[own.dimensions, own.use_activation].append(place)
        finished: list[Tensor] = [rows] * len(params)
        for places in alike.values():
            for place, row in zip(places, self._finish(rows[places], params[places[0]]), strict=True):
                finished[place] = row
        return finished

    def _finish(self, rows: Tensor, params: PoolingParams) -> Tensor:
        if params.dimensions is not None:
            rows = rows[..., : params.dimensions]
        rows = rows if params.use_activation is False else self.activation(rows)
        # Like sentence-transformers, which cuts what the last module (Normalize) returns and does not normalise again.
        return rows if params.dimensions is not None else rows[..., : self.truncate_dim]


class ConcatenatedPooling(Pooler):
    """Several methods at once: what each pools of a sequence, one behind the other."""

    def __init__(self, ctx: Context, methods: Sequence[Pooler]) -> None:
        super().__init__(ctx)
        self.methods: Sequence[Pooler] = methods

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden * number of methods]."""
        pooled = [method.pool(hidden_states, metadata) for method in self.methods]
        # Methods of sequence tasks give one row each; those of token tasks are never joined.
        return torch.cat([rows.float() for rows in pooled if isinstance(rows, Tensor)], dim=-1)


def _agree(params: Sequence[PoolingParams]) -> bool:
    first = params[0]
    return all(
        own is first or (own.dimensions == first.dimensions and own.use_activation == first.use_activation)
        for own in params
    )
