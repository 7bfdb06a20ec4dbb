"""Pooler: from the hidden states of a packed batch to one tensor a sequence: a method, a head, an activation."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from millpond.nn.batch import PoolingMetadata
from millpond.plugin.blame import blamed, breach, described, is_foreign, owner_of
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import PoolerContext
    from millpond.plugin.registry import Entry

MATRIX = 2  # dimensions of a tensor of rows


class Pooler(nn.Module):
    """Pools, applies the head, keeps the first ``dimensions``, and activates.

    A pooling method overrides ``pool`` alone. Heads and activations compute in float32.
    """

    def __init__(self, ctx: "PoolerContext") -> None:
        super().__init__()
        self.head = ctx.rows_after_pooling if ctx.head is None else ctx.head
        self.activation = ctx.activation(ctx.activation_name or ctx.task_spec.default_activation)
        self.truncate_dim = ctx.model.embedding.truncate_dim if ctx.task == "embed" else None

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
        owner = owner_of(self)
        if is_foreign(owner):
            self._check(owner, pooled, hidden_states, len(metadata.lengths))
        if isinstance(pooled, Tensor):
            return self._finish_each(self._project(pooled), metadata.params)
        counts = [len(rows) for rows in pooled]
        rows = self._project(torch.cat(pooled))
        if _agree(metadata.params):
            return list(self._finish(rows, metadata.params[0]).split(counts))
        return [self._finish(part, own) for part, own in zip(rows.split(counts), metadata.params, strict=True)]

    def _check(self, owner: "Entry[Any] | None", pooled: Any, hidden_states: Tensor, num_seqs: int) -> None:
        """Refuse what ``pool`` returned if the head and the activation cannot take it.

        Raises:
            ComponentError: It is something else; names the pooler.
        """
        expected = f"a tensor [{num_seqs}, hidden], or a list of {num_seqs} tensors [rows, hidden]"
        is_list = isinstance(pooled, list | tuple)
        each: list[Any] = list(pooled) if is_list else [pooled]
        if not all(isinstance(rows, Tensor) and rows.dim() == MATRIX for rows in each):
            odd = next((rows for rows in each if not isinstance(rows, Tensor) or rows.dim() != MATRIX), None)
            message = f"pool returned {'a list with ' if is_list else ''}{described(odd)}; expected {expected}"
            raise breach(owner, message)
        if (len(each) if is_list else len(each[0])) != num_seqs:
            raise breach(owner, f"pool returned {described(pooled)}; expected {expected}")
        width = hidden_states.shape[-1]
        if self.head is not None and owner is not None and owner.spec.size_key is None:
            odd = next((rows for rows in each if rows.shape[-1] != width), None)
            if odd is not None:
                message = f"pool returned {described(odd)}, which a head follows; expected rows of {width} values"
                raise breach(owner, message)

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

    def __init__(self, ctx: "PoolerContext", methods: Sequence[Pooler]) -> None:
        super().__init__(ctx)
        self.methods: Sequence[Pooler] = methods

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden * number of methods]."""
        pooled: list[Tensor | list[Tensor]] = []
        for method in self.methods:
            with blamed(owner_of(method)):
                pooled.append(method.pool(hidden_states, metadata))
        # Methods of sequence tasks give one row each; those of token tasks are never joined.
        return torch.cat([rows.float() for rows in pooled if isinstance(rows, Tensor)], dim=-1)


def _agree(params: Sequence[PoolingParams]) -> bool:
    first = params[0]
    return len(params) == 1 or all(
        own is first or (own.dimensions == first.dimensions and own.use_activation == first.use_activation)
        for own in params
    )
