"""GraphedModel: small batches replay a recorded graph of launches, one per bucket of tokens, with ``cuda_graphs``.

A GPU computes a batch of a few hundred tokens faster than its host launches the kernels. A replay launches all of them
at once. Batches are padded to the size of their bucket with tokens of a separate sequence, which no other
sequence attends to.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from millpond.nn import PackedBatch
from millpond.types.errors import is_out_of_memory
from millpond_cuda.recordable import NotRecordableError, RecordableOps

logger = logging.getLogger(__name__)
BUCKETS = (64, 128, 256, 512, 1024, 2048)  # tokens
MAX_SEQS = 128  # of a recorded batch; each further one costs attention a block without work
MAX_LENGTH = 512  # tokens of a sequence in a recorded batch; fewer if the model supports fewer
WARM_UP_CALLS = 2  # before the recording: kernels are compiled and workspaces allocated


class Recording(NamedTuple):
    """A recorded forward pass: ``replay`` computes ``output`` again, from the present values of its inputs."""

    replay: Callable[[], None]
    output: Tensor


class Recorder(Protocol):
    """Records the launches of a function."""

    def record(self, work: Callable[[], Tensor]) -> Recording:
        """Record a function; it must not wait for the device, and must use the same memory in each call."""
        ...


class CudaRecorder:
    """Records CUDA graphs; all of them share a pool of memory, because only one is replayed at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # not the default of torch.cuda.graph: it is on the current device

    def record(self, work: Callable[[], Tensor]) -> Recording:
        """Record a function."""
        graph, compute = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        self._stream.wait_stream(compute)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_CALLS):
                work()
        compute.wait_stream(self._stream)
        # By default, allocations and waits of other threads would be errors meanwhile.
        recording = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.stream(compute), recording:  # after a failed recording, torch does not restore the stream
            output = work()
        return Recording(graph.replay, output)


@dataclass(frozen=True, kw_only=True)
class StaticBatch:
    """The inputs of a recorded forward pass, which stay at the same addresses.

    It has the attributes of a ``PackedBatch`` that are tensors, or that are equal for all batches of a bucket.

    Attributes:
        input_ids: [bucket].
        positions: [bucket].
        cu_seqlens: The offsets of the sequences, of the padding, and of empty sequences, [MAX_SEQS + 2], int32.
        max_length: The number of tokens of the longest sequence that the recording supports.
    """

    input_ids: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_length: int
    token_type_ids: None = None
    features: tuple[()] = ()
    adapters: tuple[()] = ()
    routes: tuple[()] = ()
    num_masked: tuple[()] = ()
    shared: None = None

    @property
    def num_tokens(self) -> int:
        """The number of tokens, with padding."""
        return len(self.input_ids)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        message = f"it reads {name!r} of a batch, which is different for each batch"
        raise NotRecordableError(message)

    def fill(self, batch: PackedBatch) -> None:
        """Copy the inputs of a batch, and pad them."""
        count, size = batch.num_tokens, len(self.input_ids)
        self.input_ids[:count].copy_(batch.input_ids)
        self.input_ids[count:].zero_()
        self.positions[:count].copy_(batch.positions)
        self.positions[count:].zero_()
        self.cu_seqlens.fill_(size)
        self.cu_seqlens[: batch.num_seqs + 1].copy_(batch.cu_seqlens)


class GraphedModel:
    """Computes a model's hidden states, for small batches by replaying a recording.

    A model whose launches depend on more than the inputs of ``StaticBatch`` is never recorded, such as one with
    attention over groups of equal length, or that waits for the device: its batches are computed as usual.

    Args:
        model: The model.
        recorder: Records its forward pass.
        device: The device.
        max_length: The number of tokens of the longest sequence of a recording.
        buckets: The sizes of recordings, ascending.

    Attributes:
        buckets: The sizes that are recorded; empty if the model cannot be recorded.
        refusal: The reason that a batch could not be recorded; empty if all could, or if no small batch was computed.
    """

    def __init__(
        self,
        model: nn.Module,
        recorder: Recorder,
        *,
        device: torch.device,
        max_length: int,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        self.model, self.buckets = model, tuple(buckets)
        self._recorder, self._device, self._max_length = recorder, device, max_length
        self._recordings: dict[int, tuple[StaticBatch, Recording]] = {}
        self.refusal = ""

    def __call__(self, batch: PackedBatch) -> Tensor:
        """A batch of num_tokens tokens -> [num_tokens, hidden]."""
        bucket = self._bucket(batch)
        if bucket is None:
            return cast("Tensor", self.model(batch))
        recorded = self._recordings.get(bucket)
        if recorded is None:
            try:
                recorded = self._recordings[bucket] = self._record(bucket, batch)
            except RuntimeError as error:
                traceback.clear_frames(error.__traceback__)  # they keep memory that the batch may need
                hidden = cast("Tensor", self.model(batch))  # an error that recurs here is caused by the input
                self._refuse(bucket, error)
                return hidden
        inputs, recording = recorded
        inputs.fill(batch)
        recording.replay()
        # The next replay overwrites the output.
        return recording.output[: batch.num_tokens].clone()

    def _refuse(self, bucket: int, error: RuntimeError) -> None:
        """Record no more batches; for lack of memory, no more of this size."""
        self.refusal = str(error)
        name = type(self.model).__name__
        if is_out_of_memory(error):
            self.buckets = tuple(size for size in self.buckets if size < bucket or size in self._recordings)
            logger.warning("%s: not enough memory for a CUDA graph of %d tokens", name, bucket)
            return
        self.buckets = ()
        message = (
            "%s: CUDA graphs are not used: the forward pass cannot be recorded: %s. Attention can be recorded with "
            "kernels={'attention': 'varlen'}, in 16 bits"
        )
        logger.warning(message, name, self.refusal)

    def _bucket(self, batch: PackedBatch) -> int | None:
        """Return the size of the recording for a batch; None if it is computed as usual."""
        is_plain = (
            batch.token_type_ids is None
            and batch.shared is None
            and not (batch.features or batch.adapters or any(batch.routes))
        )
        if not is_plain or batch.num_seqs > MAX_SEQS or batch.max_length > self._max_length:
            return None
        return next((size for size in self.buckets if size >= batch.num_tokens), None)

    def _record(self, bucket: int, batch: PackedBatch) -> tuple[StaticBatch, Recording]:
        ids = torch.zeros(bucket, dtype=torch.int64, device=self._device)
        offsets = torch.zeros(MAX_SEQS + 2, dtype=torch.int32, device=self._device)
        inputs = StaticBatch(
            input_ids=ids, positions=torch.zeros_like(ids), cu_seqlens=offsets, max_length=self._max_length
        )
        inputs.fill(batch)
        with RecordableOps():
            self.model(inputs)
        return inputs, self._recorder.record(lambda: self.model(inputs))
