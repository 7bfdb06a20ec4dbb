"""SharedRows: the sequences of a batch that contains the tokens with which several of them begin only once, or not."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from millpond.nn.transfer import to_device

if TYPE_CHECKING:
    from millpond.nn.batch import PackedBatch


class PrefixStates(NamedTuple):
    """The results of a causal model for the tokens of a prefix, which do not depend on the tokens that follow.

    Attributes:
        keys: The keys of each call of ``Attention``, each [length, kv_heads, head_dim].
        values: The values of each call, of the same shapes.
        hidden_states: The output of the model, [length, hidden].
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden_states: Tensor


@dataclass(eq=False)
class PrefixGroup:
    """Sequences of a batch that begin with the same tokens.

    Attributes:
        length: The number of these tokens, less than the length of each sequence.
        members: The indices of the sequences.
        states: The states of the prefix; None if the first sequence computes them, and set when it has done so.
    """

    length: int
    members: list[int] = field(default_factory=list)
    states: PrefixStates | None = None


class SharedRows:
    """The complete sequences of a batch whose rows are not all computed; create it with ``share_rows``.

    The first sequence of a group computes the prefix, unless its states are known; the batch contains only the other
    tokens of the following sequences. ``Attention`` reads the keys and values of the prefix again for each sequence,
    and computes the complete sequences, so that every kernel supports it.

    Attributes:
        complete: The complete sequences.
        num_missing: The number of their rows that the batch does not contain.
    """

    def __init__(self, complete: "PackedBatch", groups: Sequence[PrefixGroup]) -> None:
        self.complete = complete
        is_computed, sources = _layout(complete.offsets, groups)
        num_computed = int(is_computed.sum())
        num_rows = num_computed + sum(group.length for group in groups if group.states is not None)
        rows = np.concatenate([is_computed.cumsum() - 1, np.arange(num_computed, num_rows)])[sources]
        device = complete.input_ids.device
        self.num_missing = complete.num_tokens - num_computed
        self.computed = to_device(
            torch.from_numpy(is_computed.nonzero()[0]), device
        )  # the rows of `complete` in the batch
        self._rows = to_device(torch.from_numpy(rows), device)  # for each row of `complete`, that of its values
        self._known = [group.states for group in groups if group.states is not None]
        # The groups whose prefix this batch computes: its rows, and the keys and values of each call.
        self._recorded: list[tuple[PrefixGroup, slice, list[Tensor], list[Tensor]]] = []
        for group in groups:
            if group.states is None:
                start = int(rows[complete.offsets[group.members[0]]])
                self._recorded.append((group, slice(start, start + group.length), [], []))
        self._num_calls = 0

    def expand(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value of the complete sequences, for the next call of ``Attention``.

        Queries of rows that are not in the batch are zero: their results are not used.

        Args:
            query: [num_tokens, heads, head_dim].
            key: [num_tokens, kv_heads, head_dim].
            value: [num_tokens, kv_heads, head_dim].
        """
        call, self._num_calls = self._num_calls, self._num_calls + 1
        for _, rows, keys, values in self._recorded:
            keys.append(key[rows].clone())  # a view would keep the rows of the whole batch in memory
            values.append(value[rows].clone())
        if not self.num_missing:
            return query, key, value
        queries = query.new_zeros(self.complete.num_tokens, *query.shape[1:]).index_copy_(0, self.computed, query)
        return (
            queries,
            self._gather(key, [states.keys[call] for states in self._known]),
            self._gather(value, [states.values[call] for states in self._known]),
        )

    def select(self, attended: Tensor) -> Tensor:
        """Return the rows of the batch, [num_tokens, size], from those of the complete sequences."""
        return attended.index_select(0, self.computed) if self.num_missing else attended

    def complete_hidden_states(self, hidden_states: Tensor) -> Tensor:
        """Return the hidden states of the complete sequences, and set the states of the groups that had none.

        Args:
            hidden_states: The output of the model for the batch, [num_tokens, hidden].
        """
        for group, rows, keys, values in self._recorded:
            group.states = PrefixStates(tuple(keys), tuple(values), hidden_states[rows].clone())
        if not self.num_missing:
            return hidden_states
        return self._gather(hidden_states, [states.hidden_states for states in self._known])

    def _gather(self, rows: Tensor, known: list[Tensor]) -> Tensor:
        return (torch.cat([rows, *known]) if known else rows).index_select(0, self._rows)


def share_rows(complete: "PackedBatch", groups: Sequence[PrefixGroup]) -> "PackedBatch":
    """Return a batch of the rows that must be computed.

    Args:
        complete: The complete sequences.
        groups: The sequences that begin alike, each in at most one group.
    """
    shared = SharedRows(complete, groups)
    lengths = list(complete.lengths)
    for group in groups:
        for index in group.members[group.states is None :]:
            lengths[index] -= group.length
    types = complete.token_type_ids
    return replace(
        complete,
        input_ids=complete.input_ids[shared.computed],
        positions=complete.positions[shared.computed],
        token_type_ids=None if types is None else types[shared.computed],
        lengths=tuple(lengths),
        shared=shared,
        ids_on_host=None,
    )


def _layout(offsets: Sequence[int], groups: Sequence[PrefixGroup]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which rows are computed, and the row that has the values of each; those of known states come last."""
    num_rows = offsets[-1]
    is_computed, sources = np.ones(num_rows, dtype=np.bool_), np.arange(num_rows)
    for group in groups:
        starts = [offsets[index] for index in group.members]
        first = starts[0]
        if group.states is not None:
            first, num_rows = num_rows, num_rows + group.length
        for start in starts[group.states is None :]:
            is_computed[start : start + group.length] = False
            sources[start : start + group.length] = np.arange(first, first + group.length)
    return is_computed, sources
