"""Copies between host and device on separate streams, so that they overlap with computation."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from millpond.nn import PackedBatch

ALIGNMENT = 256  # bytes; copies and kernels are fastest from aligned addresses


class Mark(Protocol):
    """A point in the work of a device."""

    def synchronize(self) -> None:
        """Wait until the device has passed it; raise the error of work that failed before it."""
        ...


class Streams(Protocol):
    """The streams of a device: one for copies to it, the one that computes, and one for copies from it.

    The stream that computes is the current one of the calling thread.
    """

    def allocate(self, num_bytes: int) -> Tensor:
        """Return memory of the host from which the device can copy by itself, [num_bytes], uint8."""
        ...

    def copy_in(self, source: Tensor) -> Tensor:
        """Start a copy to the device; later computations wait for it, earlier ones do not delay it.

        Args:
            source: A tensor in memory of ``allocate``, which must not change until a later mark is passed.
        """
        ...

    def copy_out(self, source: Tensor, target: Tensor) -> None:
        """Start a copy to the host, after all computations that were launched so far.

        Args:
            source: A tensor on the device.
            target: A tensor of the same shape and dtype in memory of ``allocate``; valid once a later mark is passed.
        """
        ...

    def mark(self) -> Mark:
        """Return the point after all copies and computations that were started so far."""
        ...


class CudaStreams:
    """The streams of a CUDA device.

    The memory of a tensor belongs to the stream on which it was created. ``record_stream`` keeps it from being
    used again before another stream has finished with it, also if the tensor is dropped because of an error.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._incoming, self._outgoing = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def allocate(self, num_bytes: int) -> Tensor:
        """Return page-locked memory."""
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def copy_in(self, source: Tensor) -> Tensor:
        """Start a copy to the device."""
        compute = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._incoming):
            target = source.to(self._device, non_blocking=True)
        compute.wait_stream(self._incoming)
        target.record_stream(compute)
        return target

    def copy_out(self, source: Tensor, target: Tensor) -> None:
        """Start a copy to the host; a pooler may also return tensors that are there already."""
        if source.device.type != self._device.type:
            target.copy_(source)
            return
        self._outgoing.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._outgoing):
            target.copy_(source, non_blocking=True)
        source.record_stream(self._outgoing)

    def mark(self) -> torch.cuda.Event:
        """Return the point after all work that was started so far."""
        self._outgoing.wait_stream(self._incoming)
        self._outgoing.wait_stream(torch.cuda.current_stream(self._device))
        # Blocking: the waiting thread must not use the core that launches the next batch.
        event = torch.cuda.Event(blocking=True)
        event.record(self._outgoing)
        return event


class BatchTransfers:
    """The copies of one batch at a time. Its memory grows to that of the largest batch, and is used again.

    Args:
        streams: The streams of the device.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._incoming, self._outgoing = streams.allocate(0), streams.allocate(0)

    def copy_batch(self, batch: PackedBatch) -> PackedBatch:
        """Return a batch of the host on the device: its tensors are copied together, with ``cu_seqlens``."""
        offsets = torch.tensor(batch.offsets, dtype=torch.int32)
        types = () if batch.token_type_ids is None else (batch.token_type_ids,)
        tensors = (batch.input_ids, batch.positions, offsets, *types)
        bounds = _bounds(tensors)
        self._incoming = self._enlarged(self._incoming, bounds[-1])
        for tensor, view in zip(tensors, _views(self._incoming, tensors, bounds), strict=True):
            view.copy_(tensor)
        on_device = self._streams.copy_in(self._incoming[: bounds[-1]])
        ids, positions, cu_seqlens, *rest = _views(on_device, tensors, bounds)
        copied = replace(
            batch,
            input_ids=ids,
            positions=positions,
            token_type_ids=rest[0] if rest else None,
            ids_on_host=batch.input_ids,
        )
        vars(copied)["cu_seqlens"] = cu_seqlens  # a cached property
        return copied

    def copy_results(self, results: Sequence[Tensor]) -> list[Tensor]:
        """Start copies of results to the host; the returned tensors are valid once a later mark is passed.

        They share memory with those of the next call.
        """
        bounds = _bounds(results)
        self._outgoing = self._enlarged(self._outgoing, bounds[-1])
        targets = _views(self._outgoing, results, bounds)
        for source, target in zip(results, targets, strict=True):
            self._streams.copy_out(source, target)
        return targets

    def mark(self) -> Mark:
        """Return the point at which both copies have ended, and the memory can be used again."""
        return self._streams.mark()

    def _enlarged(self, memory: Tensor, num_bytes: int) -> Tensor:
        # Powers of two: sizes of batches differ, and page-locking takes milliseconds.
        return memory if len(memory) >= num_bytes else self._streams.allocate(1 << (num_bytes - 1).bit_length())


def _bounds(tensors: Sequence[Tensor]) -> list[int]:
    """Return the aligned offset of each tensor in a common memory, and its size, in bytes."""
    return list(accumulate((-(-tensor.nbytes // ALIGNMENT) * ALIGNMENT for tensor in tensors), initial=0))


def _views(memory: Tensor, tensors: Sequence[Tensor], bounds: Sequence[int]) -> list[Tensor]:
    """Return the part of a memory for each tensor, with its dtype and shape."""
    return [
        memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(tensors, bounds, strict=False)
    ]
