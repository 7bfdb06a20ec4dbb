"""Runner: a batch of requests -> packed tensors -> model -> poolers -> arrays on the host, on workers of its own."""

import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
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
Job = Callable[[], None]
PATIENCE = 10.0  # seconds, for all workers; a batch takes less, and a model that hangs must not hang the program's end
NO_RESULT: Array = np.empty(0, dtype=np.float32)
MATRIX = 2  # dimensions of a tensor with one row a token


class Outcome(NamedTuple):
    """What became of a batch: the requests carry results or errors of their own, unless the batch failed whole."""

    requests: list[PoolingRequest]
    error: BaseException | None


class PoolerParts(NamedTuple):
    """The pooler of a task, the record that is blamed for it, and its check; None if it refuses nothing."""

    pooler: nn.Module
    owner: "Entry[Any] | None"
    check: Callable[[PoolingParams], None] | None


class Runner:
    """Computes batches: on a CPU several at a time, each on a worker of one thread; else one at a time.

    While one worker alone has a batch, ops may use the threads that torch would use in the caller's thread.

    Attributes:
        num_workers: How many batches it computes at a time.
        progress: Notes how far batches have come.
        intra_op_threads: How many threads torch uses for a batch that is computed in the caller's thread.
    """

    _starting: ClassVar = threading.Lock()  # workers that start pass through a setting of the whole process

    def __init__(self, model: PoolingModel, *, device: torch.device, num_workers: int | None = None) -> None:
        self.model = model
        self.device = device
        self.progress = progress_of(model)
        self._owner = owner_of(model)
        self._contracts = contracts_of(model)
        self._poolers: dict[str, PoolerParts] = {}
        self.num_workers = (num_workers or available_cores()) if device.type == "cpu" else 1
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        with self._starting:
            self.intra_op_threads = torch.get_num_threads()
            crew = ThreadBudget(self.intra_op_threads if self.num_workers > 1 else 1)
            workers = _start_workers(self._jobs, self.num_workers, crew)
        self._finalizer = weakref.finalize(self, _stop_workers, self._jobs, workers)

    @property
    def is_open(self) -> bool:
        """Whether there are workers still."""
        return self._finalizer.alive

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Compute a batch on a worker; ``done`` is called there."""
        self._jobs.put(lambda: done(self.run(requests)))

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch in this thread."""
        self.progress.begin(requests)
        try:
            # Workers stay in inference mode: entering it for each batch costs a short text eight calls.
            with nullcontext() if torch.is_inference_mode_enabled() else torch.inference_mode():
                self._compute(requests)
        except BaseException as error:  # noqa: BLE001  a plugin's SystemExit must not take the worker with it
            for request in requests:
                request.results, request.error = [], None
            if is_out_of_memory(error):
                _give_back(error, self.device)
            return Outcome(requests, error)
        finally:
            self.progress.end()
        return Outcome(requests, None)

    def close(self) -> None:
        """Let the workers finish what they have, and end them."""
        self._finalizer()

    def _compute(self, requests: list[PoolingRequest]) -> None:
        requests = self._acceptable(requests)
        if not requests:
            return
        places, sequences = _distinct(requests)
        batch = _pack(sequences, self.device)
        with blamed(self._owner):
            hidden = self.model(batch)
        check_hidden(self.model, hidden, batch.num_tokens)
        metadata = PoolingMetadata(lengths=batch.lengths, input_ids=batch.input_ids)
        wanted: dict[str, list[tuple[PoolingRequest, int]]] = {}
        for request in requests:
            request.results = [NO_RESULT] * len(request.representations)
            for slot, representation in enumerate(request.representations):
                wanted.setdefault(representation.task, []).append((request, slot))
        for task, slots in wanted.items():
            self._pool(task, slots, places, hidden, metadata)

    def _acceptable(self, requests: list[PoolingRequest]) -> list[PoolingRequest]:
        """Those of which nothing is asked that a pooler cannot give; the others get their errors, and cost nothing."""
        refused: dict[tuple[str, int], InvalidInputError | None] = {}
        for request in requests:
            for wanted in request.representations:
                key = (wanted.task, id(wanted.params))
                if key not in refused:
                    refused[key] = self._refusal(wanted.task, wanted.params)
                request.error = request.error or refused[key]
        return [request for request in requests if request.error is None] if any(refused.values()) else requests

    def _refusal(self, task: str, params: PoolingParams) -> InvalidInputError | None:
        _, owner, check = self._pooler(task)
        if check is not None:
            try:
                with blamed(owner):
                    check(params)
            except InvalidInputError as error:
                return error
        return None

    def _pooler(self, task: str) -> "PoolerParts":
        found = self._poolers.get(task)
        if found is None:
            pooler = self.model.poolers[task]
            checks = isinstance(pooler, Pooler) and type(pooler).check is not Pooler.check
            check = pooler.check if isinstance(pooler, Pooler) and checks else None
            found = self._poolers[task] = PoolerParts(pooler, owner_of_pooler(self.model, pooler), check)
        return found

    def _pool(
        self,
        task: str,
        slots: list[tuple[PoolingRequest, int]],
        places: dict[PoolingRequest, int],
        hidden: Tensor,
        metadata: PoolingMetadata,
    ) -> None:
        # What is asked of equal sequences with the same params is pooled once, in the order of the batch.
        keys: list[tuple[int, int, tuple[int, int] | None]] = []
        distinct: dict[tuple[int, int, tuple[int, int] | None], Representation] = {}
        for request, slot in slots:
            wanted = request.representations[slot]
            keys.append((places[request], id(wanted.params), wanted.span))
            distinct[keys[-1]] = wanted
        if len(distinct) > 1:
            distinct = dict(sorted(distinct.items(), key=_place))
        _, params, spans = zip(*distinct.values(), strict=True)
        rows, chosen = metadata.select([place for place, _, _ in distinct], params, spans)
        pooler, owner, _ = self._pooler(task)
        with blamed(owner):
            pooled = pooler(hidden if rows is None else hidden[rows], chosen)
        check_pooled(owner, task, pooled, len(distinct))
        contract = self._contracts.get(task)
        fault_of_batch = None if contract is None else contract.fault_of_batch(pooled)
        found = dict(zip(distinct, _to_host(pooled), strict=True))
        handed_out: set[object] = set()
        for (request, slot), key in zip(slots, keys, strict=True):
            # Who writes to his result must not write to that of another prompt.
            array = found[key].copy() if key in handed_out else found[key]
            handed_out.add(key)
            if not np.isfinite(array).all():
                culprit = source_of_non_finite(self.model, pooler, hidden, metadata.lengths, places[request])
                message = f"the model computed NaN or infinity for task {task!r}, on {request.num_tokens} tokens"
                request.error = NonFiniteOutputError(f"{message}{culprit}")
            if contract is not None:
                fault = fault_of_batch or contract.fault(array, request.representations[slot], len(request.input_ids))
                request.error = request.error if fault is None else breach(contract.owner, fault)
            request.results[slot] = array


def _give_back(error: BaseException, device: torch.device) -> None:
    """Free what a failed batch still holds: the next one needs it.

    Args:
        error: What it failed of. Its traceback keeps the variables of every layer, as long as somebody keeps the error.
        device: Where the batch was computed.
    """
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _place(item: tuple[tuple[int, Any, Any], Representation]) -> int:
    return item[0][0]


def _distinct(requests: Sequence[PoolingRequest]) -> tuple[dict[PoolingRequest, int], list[PoolingRequest]]:
    """The place of each request's sequence among the distinct ones, and those, shortest first."""
    if len(requests) == 1:
        return {requests[0]: 0}, list(requests)
    ordered = sorted(requests, key=lambda request: request.num_tokens)
    places: dict[PoolingRequest, int] = {}
    seen: dict[object, int] = {}
    distinct: list[PoolingRequest] = []
    for request in ordered:
        types = request.token_type_ids
        plain = not request.features
        same = (request.input_ids.tobytes(), None if types is None else types.tobytes(), request.adapter, request.route)
        key = same if plain else id(request)
        place = seen.setdefault(key, len(distinct))
        if place == len(distinct):
            distinct.append(request)
        places[request] = place
    return places, distinct


def _pack(sequences: Sequence[PoolingRequest], device: torch.device) -> PackedBatch:
    types = [None if r.token_type_ids is None else torch.from_numpy(r.token_type_ids) for r in sequences]
    features, adapters = [r.features for r in sequences], [r.adapter for r in sequences]
    return PackedBatch.pack(
        [torch.from_numpy(request.input_ids) for request in sequences],
        token_type_ids=types,
        features=features if any(features) else (),
        adapters=adapters if any(adapters) else (),
        routes=[r.route for r in sequences],
        device=device,
    )


def _to_host(pooled: Tensor | list[Tensor]) -> list[Array]:
    """One array a sequence, by one copy where all are of one width."""
    if isinstance(pooled, Tensor):
        return list(pooled.float().cpu().numpy())
    if all(tensor.dim() == MATRIX for tensor in pooled) and len({tensor.shape[1] for tensor in pooled}) == 1:
        rows = torch.cat(pooled).float().cpu().numpy()
        return np.split(rows, np.cumsum([len(tensor) for tensor in pooled])[:-1])
    return [tensor.float().cpu().numpy() for tensor in pooled]


def _start_workers(jobs: "SimpleQueue[Job | None]", count: int, crew: ThreadBudget) -> list[threading.Thread]:
    """Start workers that compute in one thread each, and wait until they do."""
    threads = torch.get_num_threads()
    ready = threading.Barrier(count + 1)
    workers = [
        threading.Thread(target=_work, args=(jobs, crew, ready), name=f"millpond-worker-{number}", daemon=True)
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    # A worker's set_num_threads is its own but for the default that threads started later get.
    torch.set_num_threads(threads)
    return workers


def _work(jobs: "SimpleQueue[Job | None]", crew: ThreadBudget, ready: threading.Barrier) -> None:
    torch.get_num_threads()  # else torch sets this thread up later, and takes the caller's number for it
    torch.set_num_threads(1)
    crew.join()
    ready.wait()
    with torch.inference_mode():
        _work_off(jobs, crew)


def _work_off(jobs: "SimpleQueue[Job | None]", crew: ThreadBudget) -> None:
    while (job := jobs.get()) is not None:
        with crew:
            job()
        del job  # else the worker would keep the runner alive while it waits


def _stop_workers(jobs: "SimpleQueue[Job | None]", workers: list[threading.Thread]) -> None:
    """End the workers and wait for them: a thread that is still in torch when Python exits takes the process down."""
    for _ in workers:
        jobs.put(None)
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(max(deadline - time.monotonic(), 0))
