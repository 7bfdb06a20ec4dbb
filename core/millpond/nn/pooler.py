"""Pooler: maps the hidden states of a packed batch to one tensor per sequence by pooling, head and activation."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from millpond.nn.batch import PoolingMetadata
from millpond.plugin.blame import blamed, breach, described, owner_of
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import PoolerContext
    from millpond.plugin.registry import Entry

ROWS_NDIM = 2  # dimensions of a tensor [rows, hidden]


class Pooler(nn.Module):
    """Base class of poolers: pools, applies the head, truncates to ``dimensions``, and applies the activation.

    Most pooling methods only override ``pool``. Heads and activations compute in float32.

    Attributes:
        cacheable: False if results depend on more than the hidden states and parameters of a sequence: they are never
            read from a cache.
    """

    cacheable: ClassVar[bool] = True

    def __init__(self, ctx: "PoolerContext") -> None:
        super().__init__()
        self.head = ctx.rows_after_pooling if ctx.head is None else ctx.head
        self.activation = ctx.activation(ctx.activation_name or ctx.task_spec.default_activation)
        self.truncate_dim = ctx.model.embedding.truncate_dim if ctx.task == "embed" else None

    def check(self, params: PoolingParams) -> None:
        """Check the parameters of a sequence before its batch is computed; accepts all by default.

        Raises:
            InvalidInputError: If a parameter is not supported; names it.
        """

    @staticmethod
    def concatenated(ctx: "PoolerContext", methods: Sequence["Pooler"]) -> "Pooler":
        """Return a pooler that concatenates the results of several pooling methods."""
        return ConcatenatedPooling(ctx, methods)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, hidden], or a list of num_seqs tensors [rows, hidden]."""
        raise NotImplementedError

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, dim], or a list of num_seqs tensors of any shape."""
        pooled = self.pool(hidden_states, metadata)
        num_seqs, width = len(metadata.lengths), hidden_states.shape[-1]
        is_plain = isinstance(pooled, Tensor) and pooled.shape == (num_seqs, width) and pooled.dtype.is_floating_point
        if not is_plain and self._owner is not None:
            self._check(self._owner, pooled, self.width_of(width), num_seqs)
        if isinstance(pooled, Tensor):
            rows = self._project(pooled)
            if len(rows) == 1:  # a short text alone: three calls fewer
                return self._finish(rows, metadata.params[0])
            return self._finish_each(rows, metadata.params)
        counts = [len(rows) for rows in pooled]
        rows = self._project(torch.cat(pooled))
        if _are_equal(metadata.params):
            return list(self._finish(rows, metadata.params[0]).split(counts))
        return [self._finish(part, params) for part, params in zip(rows.split(counts), metadata.params, strict=True)]

    def width_of(self, hidden_size: int) -> int:
        """Return the size of the rows that ``pool`` returns for the head, by default that of the hidden states."""
        return hidden_size

    @cached_property
    def _owner(self) -> "Entry[Any] | None":
        """The record of the pooler; None if it was not created from one."""
        return owner_of(self)

    def _check(self, owner: "Entry[Any]", pooled: Any, width: int, num_seqs: int) -> None:
        """Check that the head and the activation can process the result of ``pool``.

        Raises:
            ComponentError: If the result has another type or shape; names the pooler.
        """
        expected = f"a tensor [{num_seqs}, hidden], or a list of {num_seqs} tensors [rows, hidden]"
        is_list = isinstance(pooled, list | tuple)
        parts: list[Any] = list(pooled) if is_list else [pooled]
        if not all(isinstance(rows, Tensor) and rows.dim() == ROWS_NDIM for rows in parts):
            invalid = next((rows for rows in parts if not isinstance(rows, Tensor) or rows.dim() != ROWS_NDIM), None)
            message = f"pool returned {'a list with ' if is_list else ''}{described(invalid)}; expected {expected}"
            raise breach(owner, message)
        number = next((rows for rows in parts if not rows.is_floating_point()), None)
        if number is not None:
            raise breach(owner, f"pool returned {described(number)} of {number.dtype}; expected floating-point numbers")
        if (len(parts) if is_list else len(parts[0])) != num_seqs:
            raise breach(owner, f"pool returned {described(pooled)}; expected {expected}")
        if self.head is not None and owner.spec.size_key is None:
            invalid = next((rows for rows in parts if rows.shape[-1] != width), None)
            if invalid is not None:
                message = f"pool returned {described(invalid)}, but the head expects rows of {width} values"
                raise breach(owner, message)

    def _project(self, rows: Tensor) -> Tensor:
        rows = rows.float()
        return rows if self.head is None else self.head(rows)

    def _finish_each(self, rows: Tensor, params: Sequence[PoolingParams]) -> Tensor | list[Tensor]:
        if _are_equal(params):
            return self._finish(rows, params[0])
        groups: dict[tuple[int | None, bool | None], list[int]] = defaultdict(list)
        for i, params_of_row in enumerate(params):
            groups[params_of_row.dimensions, params_of_row.use_activation].append(i)
        finished: list[Tensor] = [rows] * len(params)
        for indices in groups.values():
            for i, row in zip(indices, self._finish(rows[indices], params[indices[0]]), strict=True):
                finished[i] = row
        return finished

    def _finish(self, rows: Tensor, params: PoolingParams) -> Tensor:
        if params.dimensions is not None:
            rows = rows[..., : params.dimensions]
        rows = rows if params.use_activation is False else self.activation(rows)
        if params.dimensions is not None or self.truncate_dim is None:
            return rows
        # Like sentence-transformers, which truncates after the last module (Normalize) and does not normalize again.
        return rows[..., : self.truncate_dim]


class ConcatenatedPooling(Pooler):
    """Concatenates the results of several pooling methods."""

    def __init__(self, ctx: "PoolerContext", methods: Sequence[Pooler]) -> None:
        super().__init__(ctx)
        self.methods: Sequence[Pooler] = methods

    def width_of(self, hidden_size: int) -> int:
        """Return the size of the concatenated rows."""
        return sum(method.width_of(hidden_size) for method in self.methods)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden * number of methods]."""
        pooled: list[Tensor | list[Tensor]] = []
        for method in self.methods:
            with blamed(owner_of(method)):
                pooled.append(method.pool(hidden_states, metadata))
        # Methods of sequence tasks return one row per sequence; methods of token tasks are never concatenated.
        return torch.cat([rows.float() for rows in pooled if isinstance(rows, Tensor)], dim=-1)


def _are_equal(params: Sequence[PoolingParams]) -> bool:
    """True if all parameters that ``_finish`` reads are the same."""
    first = params[0]
    return len(params) == 1 or all(
        other is first or (other.dimensions == first.dimensions and other.use_activation == first.use_activation)
        for other in params
    )
