"""PackedBatch and PoolingMetadata: sequences of different lengths, concatenated without padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, groupby, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from millpond.nn.shared_rows import SharedRows
from millpond.nn.transfer import to_device
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_ATTENDED = "num_attended"  # key in a sequence's features: the number of its tokens that are not masked


@dataclass(frozen=True, slots=True)
class EqualLengthGroup:
    """Adjacent sequences of the same length in a batch.

    Attributes:
        start: The row of the first token of the first sequence.
        count: The number of sequences.
        length: The number of tokens of each sequence.
        num_masked: The number of masked tokens at the end of each sequence.
    """

    start: int
    count: int
    length: int
    num_masked: int = 0

    @property
    def num_attended(self) -> int:
        """The number of tokens of each sequence that are not masked."""
        return self.length - self.num_masked

    @property
    def stop(self) -> int:
        """The row after the last token of the last sequence."""
        return self.start + self.count * self.length


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedBatch:
    """Concatenated sequences; the runner sorts them by length, so sequences of equal length are adjacent.

    Attributes:
        input_ids: The token ids, [num_tokens], int64.
        positions: The index of each token in its sequence, from 0, [num_tokens], int64.
        lengths: The number of tokens of each sequence, on the host.
        token_type_ids: The token type (segment) of each token, [num_tokens]; None if all are 0.
        features: Additional inputs of each sequence, such as pixels; empty mappings for plain text. The key
            ``num_attended`` is the number of tokens at the start of the sequence that are not masked; all by default.
        adapters: The adapter of each sequence, None for the one that is merged into the weights; empty if it is None
            for all sequences.
        routes: The route of each sequence, for models with separate routes for queries and documents; else empty.
        shared: The complete sequences, if the batch does not contain all of their tokens; ``lengths`` counts those that
            it contains, and ``positions`` are those in the complete sequences. None for complete sequences.
        ids_on_host: ``input_ids`` on the host, if they were packed there; None if only the device has them.
    """

    input_ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    token_type_ids: Tensor | None = None
    features: tuple[Mapping[str, object], ...] = ()
    adapters: tuple[str | None, ...] = ()
    routes: tuple[str, ...] = ()
    shared: SharedRows | None = None
    ids_on_host: Tensor | None = None

    @classmethod
    def pack(
        cls,
        sequences: "Sequence[Tensor | NDArray[Any]]",
        *,
        token_type_ids: "Sequence[Tensor | NDArray[Any] | None]" = (),
        features: Sequence[Mapping[str, object]] = (),
        adapters: Sequence[str | None] = (),
        routes: Sequence[str] = (),
        device: torch.device | None = None,
    ) -> "PackedBatch":
        """Concatenate sequences of token ids.

        Args:
            sequences: Token ids, each [length], in numpy arrays or tensors on the host.
            token_type_ids: The token types of each sequence, or None.
            features: The additional inputs of each sequence.
            adapters: The adapter of each sequence.
            routes: The route of each sequence.
            device: The device of the batch; None for the host.
        """
        lengths = tuple(map(len, sequences))
        ids, positions = _joined(sequences), _positions(lengths)
        types = _joined_types(token_type_ids, lengths) if token_type_ids else None
        if device is not None:
            positions = to_device(positions, device)
            types = None if types is None else to_device(types, device)
        return cls(
            input_ids=ids if device is None else to_device(ids, device),
            positions=positions,
            lengths=lengths,
            token_type_ids=types,
            features=tuple(features),
            adapters=tuple(adapters),
            routes=tuple(routes),
            ids_on_host=None if device is None else ids,
        )

    def rows_of(self, indices: Sequence[int]) -> Tensor:
        """Return the rows of the sequences with these indices, [num_rows]."""
        rows = torch.cat([torch.arange(*self.offsets[i : i + 2]) for i in indices])
        return to_device(rows, self.input_ids.device)

    def select(self, indices: Sequence[int]) -> "PackedBatch":
        """Return a batch of the sequences with these indices, without their adapters and routes."""
        rows = self.rows_of(indices)
        return PackedBatch(
            input_ids=self.input_ids[rows],
            positions=self.positions[rows],
            lengths=tuple(self.lengths[i] for i in indices),
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[rows],
            features=tuple(self.features[i] for i in indices) if self.features else (),
        )

    @cached_property
    def num_tokens(self) -> int:
        """The number of tokens of all sequences."""
        return self.input_ids.shape[0]

    @cached_property
    def num_seqs(self) -> int:
        """The number of sequences."""
        return len(self.lengths)

    @cached_property
    def max_length(self) -> int:
        """The number of tokens of the longest complete sequence."""
        return max(self.lengths) if self.shared is None else self.shared.complete.max_length

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each sequence, and the number of rows, on the host: num_seqs + 1 numbers."""
        return tuple(accumulate(self.lengths, initial=0))

    @cached_property
    def lengths_on_host(self) -> Tensor:
        """``lengths`` as a tensor on the host, [num_seqs], int64, for compiled code."""
        return torch.from_numpy(np.array(self.lengths, dtype=np.int64))

    @cached_property
    def length_of_each_token(self) -> Tensor:
        """For each token, the length of its sequence, on the device, [num_tokens], int64."""
        lengths = torch.repeat_interleave(self.lengths_on_host, self.lengths_on_host)
        return to_device(lengths, self.input_ids.device)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """``offsets`` on the device, [num_seqs + 1], int32, as attention kernels expect it."""
        return to_device(torch.tensor(self.offsets, dtype=torch.int32), self.input_ids.device)

    @cached_property
    def num_masked(self) -> tuple[int, ...]:
        """The number of masked tokens at the end of each sequence; empty if no token is masked.

        Raises:
            ValueError: If all tokens of a sequence are masked.
        """
        masked = [0] * len(self.lengths)
        for index, (length, features) in enumerate(zip(self.lengths, self.features, strict=False)):
            attended = features.get(NUM_ATTENDED)
            if not isinstance(attended, int):
                continue
            if not 0 < attended <= length:
                message = f"{NUM_ATTENDED}={attended} for a sequence of {length} tokens: expected 1 to {length}"
                raise ValueError(message)
            masked[index] = length - attended
        return tuple(masked) if any(masked) else ()

    @cached_property
    def equal_length_groups(self) -> tuple[EqualLengthGroup, ...]:
        """The sequences in groups of equal length and equal number of masked tokens."""
        groups: list[EqualLengthGroup] = []
        start = 0
        for (length, masked), same in groupby(zip(self.lengths, self.num_masked or repeat(0), strict=False)):
            groups.append(EqualLengthGroup(start, sum(1 for _ in same), length, masked))
            start = groups[-1].stop
        return tuple(groups)


def _joined(arrays: "Sequence[Tensor | NDArray[Any]]") -> Tensor:
    """Return the values of all arrays, int64. numpy takes a fraction of torch's time for short arrays."""
    values = np.asarray(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), dtype=np.int64)
    return torch.from_numpy(values)


def _positions(lengths: Sequence[int]) -> Tensor:
    """Return the index of each token in its sequence, from 0, [num_tokens], int64."""
    stops = np.cumsum(lengths)
    starts = 0 if len(lengths) == 1 else np.repeat(stops - lengths, lengths)
    return torch.from_numpy(np.arange(stops[-1]) - starts)


def _joined_types(token_types: "Sequence[Tensor | NDArray[Any] | None]", lengths: Sequence[int]) -> Tensor | None:
    """Return the types of all tokens, 0 for those of sequences without types; None if no sequence has types."""
    if all(types is None for types in token_types):
        return None
    each = zip(token_types, lengths, strict=True)
    return _joined([np.zeros(length, dtype=np.int64) if types is None else types for types, length in each])


@dataclass(frozen=True, kw_only=True)
class PoolingMetadata:
    """The lengths, token ids and parameters of the sequences that a pooler receives.

    Attributes:
        lengths: The number of tokens of each sequence, on the host.
        input_ids: The token ids of all sequences, [num_tokens].
        params: The pooling parameters of each sequence, completed by the model's config.
        starts: The index of each sequence's first token in its prompt, if only a part of a prompt is pooled; empty if
            all start at 0.
        ids_on_host: ``input_ids`` on the host, if they are known there; see ``read_ids``.
    """

    lengths: tuple[int, ...]
    input_ids: Tensor
    params: tuple[PoolingParams, ...] = field(default=())
    starts: tuple[int, ...] = field(default=())
    ids_on_host: Tensor | None = None

    def read_ids(self) -> "NDArray[np.int64]":
        """Return ``input_ids`` as an array, without waiting for the device if the host has them."""
        ids: NDArray[np.int64] = (self.input_ids.cpu() if self.ids_on_host is None else self.ids_on_host).numpy()
        return ids

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each sequence, and the number of rows, on the host: num_seqs + 1 numbers."""
        return tuple(accumulate(self.lengths, initial=0))

    @cached_property
    def first(self) -> Tensor:
        """The row of each sequence's first token, [num_seqs]."""
        return to_device(torch.tensor(self.offsets[:-1]), self.input_ids.device)

    @cached_property
    def last(self) -> Tensor:
        """The row of each sequence's last token, [num_seqs]."""
        return to_device(torch.tensor([stop - 1 for stop in self.offsets[1:]]), self.input_ids.device)

    def select(
        self, sequences: Sequence[int], params: Sequence[PoolingParams], spans: Sequence[tuple[int, int] | None] = ()
    ) -> "tuple[Tensor | None, PoolingMetadata]":
        """Return the rows of some sequences, or of parts of them, and the metadata of the selection.

        Args:
            sequences: The indices of the sequences.
            params: The pooling parameters of each.
            spans: The tokens to select from each, as (start, stop); None, or an empty ``spans``, for all tokens.

        Returns:
            The rows, [num_rows], or None if all rows are selected in their order; and the metadata.
        """
        partial = spans.count(None) < len(spans)
        if not partial and tuple(sequences) == tuple(range(len(self.lengths))):
            return None, PoolingMetadata(
                lengths=self.lengths, input_ids=self.input_ids, params=tuple(params), ids_on_host=self.ids_on_host
            )
        all_spans = spans if partial else [None] * len(sequences)
        bounds = [span or (0, self.lengths[i]) for i, span in zip(sequences, all_spans, strict=True)]
        rows = torch.cat(
            [
                torch.arange(self.offsets[i] + start, self.offsets[i] + stop)
                for i, (start, stop) in zip(sequences, bounds, strict=True)
            ]
        )
        on_device = to_device(rows, self.input_ids.device)
        selected = PoolingMetadata(
            lengths=tuple(stop - start for start, stop in bounds),
            input_ids=self.input_ids[on_device],
            params=tuple(params),
            starts=tuple(start for start, _ in bounds) if partial else (),
            ids_on_host=None if self.ids_on_host is None else self.ids_on_host[rows],
        )
        return on_device, selected
