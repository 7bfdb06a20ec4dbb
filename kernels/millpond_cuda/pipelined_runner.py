"""PipelinedRunner: launches a batch while a device still computes the previous one; results are read by a worker."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from queue import SimpleQueue

import torch
from torch import Tensor

from millpond.engine.executor import Outcome
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Pooled, Runner
from millpond.nn import PoolingModel
from millpond_cuda.transfers import BatchTransfers, Mark, Streams


class PipelinedRunner(Runner):
    """Computes batches on a device that works asynchronously, with several of them in flight.

    ``submit`` copies a batch to the device and launches its kernels in the caller's thread. A worker waits until the
    results are on the host. So the device copies batch n + 1 to its memory, computes batch n, and copies the results of
    batch n - 1 to the host at the same time, and the host prepares the next batch meanwhile. Batches end in the order
    of their launch.

    Args:
        model: The model.
        streams: The streams of the device.
        device: The device.
        max_in_flight: The number of batches that have been launched and not ended.
    """

    def __init__(self, model: PoolingModel, streams: Streams, *, device: torch.device, max_in_flight: int) -> None:
        super().__init__(model, device=device, num_workers=1)
        self.num_workers = max_in_flight
        self._launching = threading.Lock()  # a graph's inputs are filled and replayed by one thread at a time
        self._free: SimpleQueue[BatchTransfers] = SimpleQueue()
        for _ in range(max_in_flight):
            self._free.put(BatchTransfers(streams))

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Launch a batch in this thread; a worker calls ``done`` when its results are on the host."""
        transfers = self._free.get()
        with self._launching:
            finish = self._launch(requests, transfers)
        self._jobs.put((finish, done))

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch in this thread."""
        with self._launching:
            return super().run(requests)

    def _launch(self, requests: list[PoolingRequest], transfers: BatchTransfers) -> Callable[[], Outcome]:
        """Launch a batch; return the function that waits for its results."""
        results: list[Pooled] = []
        on_host: list[Tensor] = []
        shared_tokens, error, mark = 0, None, None
        self.progress.begin(requests)
        try:
            with nullcontext() if torch.is_inference_mode_enabled() else torch.inference_mode():
                shared_tokens, results = self._compute(requests, transfers.copy_batch)
                on_host = transfers.copy_results([_joined(pooled.values) for pooled in results])
        except BaseException as caught:  # noqa: BLE001  returned in the outcome, as by ``run``
            error = caught
        finally:
            self.progress.end()
        try:
            mark = transfers.mark()  # also after an error: the batch may still be read from the memory
        except RuntimeError as lost:
            error = error or lost
        return partial(self._finish, Outcome(requests, error, shared_tokens), transfers, mark, results, on_host)

    def _finish(
        self,
        outcome: Outcome,
        transfers: BatchTransfers,
        mark: Mark | None,
        results: list[Pooled],
        on_host: list[Tensor],
    ) -> Outcome:
        """Wait for a batch, set its results, and return its outcome.

        Args:
            outcome: The outcome of the launch.
            transfers: The memory of the batch, which is in use until ``mark`` is passed.
            mark: The end of its copies; None if it is not known, because the device failed.
            results: The results of each task.
            on_host: Their values on the host, valid once ``mark`` is passed.
        """
        error = outcome.error
        try:
            try:
                if mark is not None:
                    mark.synchronize()
                # Copies: the next batch overwrites the memory, and page-locked memory must not be kept by results.
                copies = [values.clone() for values in on_host]
            finally:
                self._free.put(transfers)
            if error is None:
                for pooled, rows in zip(results, copies, strict=True):
                    self._set_results(pooled._replace(values=_separated(rows, pooled.values)))
                return outcome
        except BaseException as caught:  # noqa: BLE001  as above
            error = error or caught
        return self._failed(outcome.requests, error)


def _joined(values: Tensor | list[Tensor]) -> Tensor:
    """Return a copy of the results of a task as one tensor, float32, flat if their widths may differ.

    The pooler may use the memory of its results again for the next batch, while they are copied to the host.
    """
    if isinstance(values, Tensor):
        return values.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return torch.cat([rows.float().flatten() for rows in values])


def _separated(joined: Tensor, values: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """Return the results of a task from a tensor of ``_joined``, with the shapes that they had."""
    if isinstance(values, Tensor):
        return joined
    parts = joined.split([rows.numel() for rows in values])
    return [part.view(rows.shape) for part, rows in zip(parts, values, strict=True)]
