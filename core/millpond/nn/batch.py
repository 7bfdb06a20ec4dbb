"""PackedBatch and PoolingMetadata: sequences of different lengths, concatenated without padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, groupby, repeat
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from millpond.compat.renamed import renamed_attributes, renamed_contents
from millpond.types.params import PoolingParams

NUM_ATTENDED = "num_attended"  # key in a sequence's features: the number of its tokens that are not masked


@renamed_attributes(hidden="num_masked", attended="num_attended")
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


@renamed_attributes(hidden="num_masked", runs="equal_length_groups")
@dataclass(frozen=True, kw_only=True)
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
    """

    input_ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    token_type_ids: Tensor | None = None
    features: tuple[Mapping[str, object], ...] = ()
    adapters: tuple[str | None, ...] = ()
    routes: tuple[str, ...] = ()

    @classmethod
    def pack(
        cls,
        sequences: Sequence[Tensor],
        *,
        token_type_ids: Sequence[Tensor | None] = (),
        features: Sequence[Mapping[str, object]] = (),
        adapters: Sequence[str | None] = (),
        routes: Sequence[str] = (),
        device: torch.device | None = None,
    ) -> "PackedBatch":
        """Concatenate sequences of token ids.

        Args:
            sequences: Token ids, each [length].
            token_type_ids: The token types of each sequence, or None.
            features: The additional inputs of each sequence.
            adapters: The adapter of each sequence.
            routes: The route of each sequence.
            device: The device of the batch.
        """
        lengths = tuple([sequence.shape[0] for sequence in sequences])
        types = None
        if token_type_ids and any([ids is not None for ids in token_type_ids]):  # noqa: C419  a list is faster
            types = torch.cat(
                [
                    torch.zeros(length, dtype=torch.long) if ids is None else ids.long()
                    for ids, length in zip(token_type_ids, lengths, strict=True)
                ]
            ).to(device)
        if len(lengths) == 1:
            input_ids, positions = sequences[0].long(), torch.arange(lengths[0])
        else:
            input_ids = torch.cat([sequence.long() for sequence in sequences])
            positions = torch.cat([torch.arange(length) for length in lengths])
        return cls(
            input_ids=input_ids.to(device),
            positions=positions.to(device),
            lengths=lengths,
            token_type_ids=types,
            features=tuple(features),
            adapters=tuple(adapters),
            routes=tuple(routes),
        )

    def rows_of(self, indices: Sequence[int]) -> Tensor:
        """Return the rows of the sequences with these indices, [num_rows]."""
        return torch.cat([torch.arange(*self.offsets[i : i + 2]) for i in indices]).to(self.input_ids.device)

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
        """The number of tokens of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each sequence, and the number of rows, on the host: num_seqs + 1 numbers."""
        return tuple(accumulate(self.lengths, initial=0))

    @cached_property
    def lengths_on_host(self) -> Tensor:
        """``lengths`` as a tensor on the host, [num_seqs], int64, for compiled code."""
        return torch.tensor(self.lengths)

    @cached_property
    def length_of_each_token(self) -> Tensor:
        """For each token, the length of its sequence, on the device, [num_tokens], int64."""
        return torch.repeat_interleave(self.lengths_on_host, self.lengths_on_host).to(self.input_ids.device)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """``offsets`` on the device, [num_seqs + 1], int32, as attention kernels expect it."""
        return torch.tensor(self.offsets, dtype=torch.int32, device=self.input_ids.device)

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


@dataclass(frozen=True, kw_only=True)
class PoolingMetadata:
    """The lengths, token ids and parameters of the sequences that a pooler receives.

    Attributes:
        lengths: The number of tokens of each sequence, on the host.
        input_ids: The token ids of all sequences, [num_tokens].
        params: The pooling parameters of each sequence, completed by the model's config.
        starts: The index of each sequence's first token in its prompt, if only a part of a prompt is pooled; empty if
            all start at 0.
    """

    lengths: tuple[int, ...]
    input_ids: Tensor
    params: tuple[PoolingParams, ...] = field(default=())
    starts: tuple[int, ...] = field(default=())

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each sequence, and the number of rows, on the host: num_seqs + 1 numbers."""
        return tuple(accumulate(self.lengths, initial=0))

    @cached_property
    def first(self) -> Tensor:
        """The row of each sequence's first token, [num_seqs]."""
        return torch.tensor(self.offsets[:-1], device=self.input_ids.device)

    @cached_property
    def last(self) -> Tensor:
        """The row of each sequence's last token, [num_seqs]."""
        return torch.tensor([stop - 1 for stop in self.offsets[1:]], device=self.input_ids.device)

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
            return None, PoolingMetadata(lengths=self.lengths, input_ids=self.input_ids, params=tuple(params))
        all_spans = spans if partial else [None] * len(sequences)
        bounds = [span or (0, self.lengths[i]) for i, span in zip(sequences, all_spans, strict=True)]
        rows = torch.cat(
            [
                torch.arange(self.offsets[i] + start, self.offsets[i] + stop)
                for i, (start, stop) in zip(sequences, bounds, strict=True)
            ]
        ).to(self.input_ids.device)
        selected = PoolingMetadata(
            lengths=tuple(stop - start for start, stop in bounds),
            input_ids=self.input_ids[rows],
            params=tuple(params),
            starts=tuple(start for start, _ in bounds) if partial else (),
        )
        return rows, selected


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = renamed_contents(__name__, {"Run": "EqualLengthGroup"})
