"""Runner: a batch of requests -> packed tensors -> model -> poolers -> arrays on the host, on worker threads."""

import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from millpond.engine.contracts import (
    check_hidden,
    check_pooled,
    contracts_of,
    owner_of_pooler,
    source_of_non_finite,
)
from millpond.engine.health import progress_of
from millpond.engine.machine import available_cores
from millpond.engine.request import PoolingRequest, Representation
from millpond.nn.batch import PackedBatch, PoolingMetadata
from millpond.nn.model import PoolingModel
from millpond.nn.pooler import Pooler
from millpond.nn.threads import ThreadBudget
from millpond.plugin.blame import blamed, breach, owner_of
from millpond.types.errors import InvalidInputError, NonFiniteOutputError, is_out_of_memory
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry

Array = NDArray[np.float32]
Job = tuple["Runner", list[PoolingRequest], Callable[["Outcome"], None]]  # calls the function when done
CLOSE_TIMEOUT_S = 10.0  # for all workers; longer than a batch, and a model that hangs must not block interpreter exit
NO_RESULT: Array = np.empty(0, dtype=np.float32)
MATRIX = 2  # dimensions of a tensor with one row per token


class Outcome(NamedTuple):
    """A computed batch, whose requests carry results or errors; ``error`` if the whole batch failed."""

    requests: list[PoolingRequest]
    error: BaseException | None


class PoolerParts(NamedTuple):
    """The pooler of a task, the record that its errors name, and its parameter check; None if it has no check."""

    pooler: nn.Module
    owner: "Entry[Any] | None"
    check: Callable[[PoolingParams], None] | None


class Runner:
    """Computes batches: on a CPU several at a time, each on a single-threaded worker; on other devices one at a time.

    While only one worker is busy, ops may use all threads that torch uses in the caller's thread.

    Attributes:
        num_workers: The number of batches computed at a time.
        progress: Records the progress of batches.
        intra_op_threads: The number of threads that torch uses for a batch computed in the caller's thread.
    """

    _start_lock: ClassVar = threading.Lock()  # starting workers changes a setting of the whole process

    def __init__(self, model: PoolingModel, *, device: torch.device, num_workers: int | None = None) -> None:
        self.model = model
        self.device = device
        self.progress = progress_of(model)
        self._owner = owner_of(model)
        self._contracts = contracts_of(model)
        self._poolers: dict[str, PoolerParts] = {}
        self.num_workers = (num_workers or available_cores()) if device.type == "cpu" else 1
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        with self._start_lock:
            self.intra_op_threads = torch.get_num_threads()
            budget = ThreadBudget(self.intra_op_threads if self.num_workers > 1 else 1)
            workers = _start_workers(self._jobs, self.num_workers, budget)
        self._finalizer = weakref.finalize(self, _stop_workers, self._jobs, workers)

    @property
    def is_open(self) -> bool:
        """True until ``close``."""
        return self._finalizer.alive

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Compute a batch on a worker, which then calls ``done``."""
        self._jobs.put((self, requests, done))

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch in this thread."""
        self.progress.begin(requests)
        try:
            # Workers stay in inference mode: entering it for each batch would cost eight Python calls.
            with nullcontext() if torch.is_inference_mode_enabled() else torch.inference_mode():
                self._compute(requests)
        except BaseException as error:  # noqa: BLE001  SystemExit raised by a plugin must not end the worker
            for request in requests:
                request.results, request.error = [], None
            if is_out_of_memory(error):
                _free_memory(error, self.device)
            return Outcome(requests, error)
        finally:
            self.progress.end()
        return Outcome(requests, None)

    def close(self) -> None:
        """Stop the workers after their current batches."""
        self._finalizer()

    def _compute(self, requests: list[PoolingRequest]) -> None:
        requests = self._accepted(requests)
        if not requests:
            return
        positions, sequences = _distinct(requests)
        batch = _pack(sequences, self.device)
        try:
            hidden = self.model(batch)
        except BaseException:
            with blamed(self._owner):  # only entered for errors: three calls fewer for each batch
                raise
        check_hidden(self.model, hidden, len(batch.input_ids))
        metadata = PoolingMetadata(lengths=batch.lengths, input_ids=batch.input_ids)
        slots_by_task: dict[str, list[tuple[PoolingRequest, int]]] = {}
        for request in requests:
            request.results = [NO_RESULT] * len(request.representations)
            for slot, representation in enumerate(request.representations):
                slots_by_task.setdefault(representation.task, []).append((request, slot))
        for task, slots in slots_by_task.items():
            self._pool(task, slots, positions, hidden, metadata)

    def _accepted(self, requests: list[PoolingRequest]) -> list[PoolingRequest]:
        """Return the requests whose parameters the poolers accept; set the error of the others."""
        errors: dict[tuple[str, int], InvalidInputError | None] = {}
        for request in requests:
            for task, params, _ in request.representations:
                parts = self._poolers.get(task) or self._pooler_parts(task)
                if parts.check is None:
                    continue
                key = (task, id(params))
                if key not in errors:
                    errors[key] = _refusal(parts, params)
                request.error = request.error or errors[key]
        return [request for request in requests if request.error is None] if any(errors.values()) else requests

    def _pooler_parts(self, task: str) -> PoolerParts:
        pooler = self.model.poolers[task]
        has_check = isinstance(pooler, Pooler) and type(pooler).check is not Pooler.check
        check = pooler.check if isinstance(pooler, Pooler) and has_check else None
        parts = self._poolers[task] = PoolerParts(pooler, owner_of_pooler(self.model, pooler), check)
        return parts

    def _pool(
        self,
        task: str,
        slots: list[tuple[PoolingRequest, int]],
        positions: dict[PoolingRequest, int],
        hidden: Tensor,
        metadata: PoolingMetadata,
    ) -> None:
        # Equal sequences with the same parameters are pooled once, in the order of the batch.
        keys: list[tuple[int, int, tuple[int, int] | None]] = []
        distinct: dict[tuple[int, int, tuple[int, int] | None], Representation] = {}
        for request, slot in slots:
            representation = request.representations[slot]
            keys.append((positions[request], id(representation.params), representation.span))
            distinct[keys[-1]] = representation
        if len(distinct) > 1:
            distinct = dict(sorted(distinct.items(), key=_position))
        selected_positions, _, spans = zip(*distinct, strict=True)
        _, params, _ = zip(*distinct.values(), strict=True)
        rows, selected = metadata.select(selected_positions, params, spans)
        pooler, owner, _ = self._poolers[task]
        try:
            pooled = pooler(hidden if rows is None else hidden[rows], selected)
        except BaseException:
            with blamed(owner):
                raise
        check_pooled(owner, task, pooled, len(distinct))
        contract = self._contracts.get(task)
        batch_error = None if contract is None else contract.batch_error(pooled)
        arrays = dict(zip(distinct, _to_host(pooled), strict=True))
        used_keys: set[object] = set()
        for (request, slot), key in zip(slots, keys, strict=True):
            # Callers may write to their results: equal prompts must not share one array.
            array = arrays[key].copy() if key in used_keys else arrays[key]
            used_keys.add(key)
            if not np.isfinite(array).all():
                source = source_of_non_finite(self.model, pooler, hidden, metadata.lengths, positions[request])
                message = f"the model computed NaN or infinity for task {task!r}, on {request.num_tokens} tokens"
                request.error = NonFiniteOutputError(f"{message}{source}")
            if contract is not None:
                representation = request.representations[slot]
                contract_error = batch_error or contract.result_error(array, representation, len(request.input_ids))
                if contract_error is not None:
                    request.error = breach(contract.owner, contract_error)
            request.results[slot] = array


def _refusal(parts: PoolerParts, params: PoolingParams) -> InvalidInputError | None:
    """Return the error of parameters that a pooler does not accept; None if it does."""
    if parts.check is not None:
        try:
            with blamed(parts.owner):
                parts.check(params)
        except InvalidInputError as error:
            return error
    return None


def _free_memory(error: BaseException, device: torch.device) -> None:
    """Free the memory that a failed batch still holds: the next batch needs it.

    Args:
        error: The error. Its traceback keeps the local variables of every layer alive.
        device: The device of the batch.
    """
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _position(item: tuple[tuple[int, Any, Any], Representation]) -> int:
    return item[0][0]


def _distinct(requests: Sequence[PoolingRequest]) -> tuple[dict[PoolingRequest, int], list[PoolingRequest]]:
    """Return the position of each request's sequence among the distinct sequences, and these, shortest first."""
    if len(requests) == 1:
        return {requests[0]: 0}, list(requests)
    ordered = sorted(requests, key=lambda request: request.num_tokens)
    positions: dict[PoolingRequest, int] = {}
    position_of_key: dict[object, int] = {}
    distinct: list[PoolingRequest] = []
    for request in ordered:
        types = request.token_type_ids
        key: object = id(request)
        if not request.features:
            types_key = None if types is None else types.tobytes()
            key = (request.input_ids.tobytes(), types_key, request.adapter, request.route)
        position = position_of_key.setdefault(key, len(distinct))
        if position == len(distinct):
            distinct.append(request)
        positions[request] = position
    return positions, distinct


def _pack(sequences: Sequence[PoolingRequest], device: torch.device) -> PackedBatch:
    ids: list[Tensor] = []
    types: list[Tensor | None] = []
    features: list[Mapping[str, object]] = []
    adapters: list[str | None] = []
    routes: list[str] = []
    has_types = False
    for request in sequences:
        ids.append(torch.from_numpy(request.input_ids))
        segments = request.token_type_ids
        has_types = has_types or segments is not None
        types.append(None if segments is None else torch.from_numpy(segments))
        features.append(request.features)
        adapters.append(request.adapter)
        routes.append(request.route)
    return PackedBatch.pack(
        ids,
        token_type_ids=types if has_types else (),
        features=features if any(features) else (),
        adapters=adapters if any(adapters) else (),
        routes=routes,
        device=device,
    )


def _to_host(pooled: Tensor | list[Tensor]) -> list[Array]:
    """Return one array per sequence, with a single copy to the host if all have the same width."""
    if isinstance(pooled, Tensor):
        return list(pooled.float().cpu().numpy())
    if all(tensor.dim() == MATRIX for tensor in pooled) and len({tensor.shape[1] for tensor in pooled}) == 1:
        rows = torch.cat(pooled).float().cpu().numpy()
        return np.split(rows, np.cumsum([len(tensor) for tensor in pooled])[:-1])
    return [tensor.float().cpu().numpy() for tensor in pooled]


def _start_workers(jobs: "SimpleQueue[Job | None]", count: int, budget: ThreadBudget) -> list[threading.Thread]:
    """Start workers that compute in one thread each, and wait until all are ready."""
    threads = torch.get_num_threads()
    ready = threading.Barrier(count + 1)
    workers = [
        threading.Thread(target=_run_worker, args=(jobs, budget, ready), name=f"millpond-worker-{number}", daemon=True)
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    # set_num_threads in a worker also changes the default of threads that start later: restore it.
    torch.set_num_threads(threads)
    return workers


def _run_worker(jobs: "SimpleQueue[Job | None]", budget: ThreadBudget, ready: threading.Barrier) -> None:
    torch.get_num_threads()  # otherwise torch initializes this thread later, with the caller's number of threads
    torch.set_num_threads(1)
    budget.join()
    ready.wait()
    with torch.inference_mode():
        _run_jobs(jobs, budget)


def _run_jobs(jobs: "SimpleQueue[Job | None]", budget: ThreadBudget) -> None:
    while (job := jobs.get()) is not None:
        runner, requests, done = job
        with budget:
            done(runner.run(requests))
        del job, runner, requests, done  # otherwise the waiting worker would keep the runner alive


def _stop_workers(jobs: "SimpleQueue[Job | None]", workers: list[threading.Thread]) -> None:
    """Stop the workers and wait for them: a thread that is inside torch at interpreter exit crashes the process."""
    for _ in workers:
        jobs.put(None)
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(max(deadline - time.monotonic(), 0))
