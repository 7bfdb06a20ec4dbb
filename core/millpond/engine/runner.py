"""Runner: a batch of requests -> packed tensors -> model -> poolers -> arrays on the host, on worker threads."""

import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from millpond.engine.executor import EngineStatus, Outcome
from millpond.engine.packing import distinct_sequences, pack, prefix_groups
from millpond.engine.request import PoolingRequest, Representation
from millpond.engine.task_pooler import Array, TaskPooler, are_finite, check_hidden, to_host
from millpond.engine.workers import Jobs, start_workers, stop_workers
from millpond.machine import available_cores
from millpond.nn.batch import PackedBatch, PoolingMetadata
from millpond.nn.model import PoolingModel
from millpond.nn.shared_rows import share_rows
from millpond.nn.threads import ThreadBudget
from millpond.plugin.blame import blamed, owner_of
from millpond.types.errors import (
    EngineClosedError,
    InvalidInputError,
    NonFiniteOutputError,
    is_device_lost,
    is_out_of_memory,
)

Slot = tuple[PoolingRequest, int, Representation]  # a requested result, with its index in the results of the request
NO_RESULT: Array = np.empty(0, dtype=np.float32)
MAX_HOOKED_LAYERS = 4  # layers that record when they start; each hook costs two microseconds per batch
MAX_CALLS_PER_LAYER = 4  # more calls than this in one batch indicate an infinite loop


class Pooled(NamedTuple):
    """The results of a task, on the device of the model.

    Attributes:
        values: The output of the pooler: a result for each of ``slots``.
        pooler: The pooler.
        slots: The requested results, of which several are equal, by position of the sequence in the batch.
        hidden: The hidden states of the batch, [num_tokens, hidden].
        lengths: The number of tokens of each sequence of the batch.
    """

    values: Tensor | list[Tensor]
    pooler: TaskPooler
    slots: list[tuple[int, list[Slot]]]
    hidden: Tensor
    lengths: tuple[int, ...]


class Progress:
    """Records when a layer of the model last started, in ``RequestState.advanced`` of the batch's first request.

    Args:
        model: The model. The members of its outermost module lists are its layers.

    Attributes:
        num_hooks: The number of layers that record it, spread evenly over the model; at most ``MAX_HOOKED_LAYERS``.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = _layers(model)
        self.num_hooks = min(len(layers), MAX_HOOKED_LAYERS)
        self._current = threading.local()
        for number in range(self.num_hooks):
            layers[number * len(layers) // self.num_hooks].register_forward_pre_hook(self._record)

    def begin(self, batch: list[PoolingRequest]) -> None:
        """Start recording the progress of a batch that this thread computes."""
        batch[0].state.advanced = perf_counter()
        self._current.request, self._current.calls_left = batch[0], MAX_CALLS_PER_LAYER * self.num_hooks

    def end(self) -> None:
        """Stop recording in this thread."""
        self._current.request = None

    def _record(self, *_: Any) -> None:
        current = self._current
        request = getattr(current, "request", None)
        if request is not None and current.calls_left > 0:
            current.calls_left -= 1
            request.state.advanced = perf_counter()


_progress_by_model: "WeakKeyDictionary[nn.Module, Progress]" = WeakKeyDictionary()


def progress_of(model: nn.Module) -> Progress:
    """Return the progress recorder of a model, shared by all runners that use the model one after another."""
    return _progress_by_model.get(model) or _progress_by_model.setdefault(model, Progress(model))


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost module lists."""
    layers: list[nn.Module] = []
    for child in module.children():
        layers += child if isinstance(child, nn.ModuleList) else _layers(child)
    return layers


class Runner:
    """Computes batches: on a CPU several at a time, each on a single-threaded worker; on other devices one at a time.

    While only one worker is busy, ops may use all threads that torch uses in the caller's thread.

    Attributes:
        num_workers: The number of batches computed at a time.
        forward: Computes the hidden states of a batch: the model, or a faster function with the same results.
        progress: Records the progress of batches.
        num_hooks: The number of layers that record it.
        inline_threads: The number of threads that torch uses for a batch computed in the caller's thread.
        on_change: Called after a change of ``crash``; the workers do not change.
        crash: The error after which this process cannot use the device; None before.
    """

    _start_lock: ClassVar = threading.Lock()  # starting workers changes a setting of the whole process

    def __init__(self, model: PoolingModel, *, device: torch.device, num_workers: int | None = None) -> None:
        self.model = model
        self.forward: Callable[[PackedBatch], Tensor] = model
        self.device = device
        self.progress = progress_of(model)
        self.num_hooks = self.progress.num_hooks
        self.on_change: Callable[[], None] = lambda: None
        self.crash: BaseException | None = None
        self._target = None if device.type == "cpu" else device  # of packed batches
        self._owner = owner_of(model)
        self._shares_prefixes = model.shares_prefixes() and not model.token_modules
        self._poolers = {task: TaskPooler(model, task) for task in model.poolers}
        self._has_checks = any(pooler.check is not None for pooler in self._poolers.values())
        self.num_workers = (num_workers or available_cores()) if device.type == "cpu" else 1
        self._jobs: Jobs = SimpleQueue()
        with self._start_lock:
            self.inline_threads = torch.get_num_threads()
            budget = ThreadBudget(self.inline_threads if self.num_workers > 1 else 1)
            workers = start_workers(self._jobs, self.num_workers, budget)
        self._finalizer = weakref.finalize(self, stop_workers, self._jobs, workers)

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Compute a batch on a worker, which then calls ``done``."""
        self._jobs.put((partial(self.run, requests), done))

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch in this thread."""
        self.progress.begin(requests)
        try:
            # Workers stay in inference mode: entering it for each batch would cost eight Python calls.
            with nullcontext() if torch.is_inference_mode_enabled() else torch.inference_mode():
                shared_tokens, results = self._compute(requests)
                for pooled in results:
                    self._set_results(pooled)
        except BaseException as error:  # noqa: BLE001  SystemExit raised by a plugin must not end the worker
            return self._failed(requests, error)
        finally:
            self.progress.end()
        return Outcome(requests, None, shared_tokens)

    def stopped(self, requests: list[PoolingRequest]) -> str | None:
        """Return None: batches are computed in this process."""
        del requests
        return None

    def abandon(self, requests: list[PoolingRequest]) -> None:
        """Do nothing: a thread cannot be stopped."""

    def statuses(self) -> Sequence[EngineStatus]:
        """Return no status: there is no other process."""
        return ()

    def close(self) -> None:
        """Stop the workers after their current batches."""
        self._finalizer()

    def _failed(self, requests: list[PoolingRequest], error: BaseException) -> Outcome:
        """Return the outcome of a failed batch, whose requests have neither results nor errors."""
        for request in requests:
            request.results, request.error = [], None
        if is_out_of_memory(error):
            _free_memory(error)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        elif self.device.type != "cpu" and is_device_lost(error):
            if self.crash is None:
                reason = str(error).partition("\n")[0]
                message = f"the device failed: {reason}. Only another process can use it again"
                self.crash = EngineClosedError(message)
                self.crash.__cause__ = error
            error = self.crash
            self.on_change()
        return Outcome(requests, error)

    def _compute(
        self, requests: list[PoolingRequest], copy_batch: Callable[[PackedBatch], PackedBatch] | None = None
    ) -> tuple[int, list[Pooled]]:
        """Return the number of tokens that did not have to be computed, and the results of each task.

        Args:
            requests: The batch.
            copy_batch: Copies a batch of the host to the device; None to pack it there.
        """
        if self._has_checks:
            requests = self._accepted(requests)
        if not requests:
            return 0, []
        positions, sequences = distinct_sequences(requests)
        complete = pack(sequences, self._target) if copy_batch is None else copy_batch(pack(sequences, None))
        batch = complete
        groups = prefix_groups(sequences) if self._shares_prefixes else {}
        if groups:
            batch = share_rows(complete, list(groups.values()))
        try:
            hidden = self.forward(batch)
        except BaseException:
            with blamed(self._owner):  # only entered for errors: three calls fewer for each batch
                raise
        check_hidden(self._owner, hidden, batch)
        if batch.shared is not None:
            hidden = batch.shared.complete_hidden_states(hidden)
            for prefix, group in groups.items():
                prefix.states = group.states
        metadata = PoolingMetadata(
            lengths=complete.lengths, input_ids=complete.input_ids, ids_on_host=complete.ids_on_host
        )
        slots_by_task: dict[str, list[Slot]] = {}
        for request in requests:
            request.results = [NO_RESULT] * len(request.representations)
            for slot, representation in enumerate(request.representations):
                slots_by_task.setdefault(representation.task, []).append((request, slot, representation))
        results = []
        for task, slots in slots_by_task.items():
            results.append(_pool(self._poolers[task], slots, positions, hidden, metadata))
        return 0 if batch.shared is None else batch.shared.num_missing, results

    def _accepted(self, requests: list[PoolingRequest]) -> list[PoolingRequest]:
        """Return the requests whose parameters the poolers accept; set the error of the others."""
        refusals: dict[tuple[str, int], InvalidInputError | None] = {}
        for request in requests:
            for task, params, _ in request.representations:
                key = (task, id(params))
                if key not in refusals:
                    refusals[key] = self._poolers[task].refusal(params)
                request.error = request.error or refusals[key]
        return [request for request in requests if request.error is None] if any(refusals.values()) else requests

    def _set_results(self, pooled: Pooled) -> None:
        """Copy the results of a task to the host, check them, and set those of its requests."""
        values, pooler, slots, hidden, lengths = pooled
        arrays, is_finite = to_host(values)
        fits = pooler.fits(values)
        for array, (position, equal) in zip(arrays, slots, strict=True):
            for number, (request, slot, representation) in enumerate(equal):
                if not (is_finite or are_finite(array)):
                    source = pooler.source_of_non_finite(hidden, lengths, position)
                    message = f"the model computed NaN or infinity for task {pooler.task!r}, on"
                    request.error = NonFiniteOutputError(f"{message} {request.num_tokens} tokens{source}")
                if not fits:
                    error = pooler.shape_error(values, array, representation, len(request.input_ids))
                    request.error = error or request.error
                # Callers may write to their results: equal prompts must not share one array.
                request.results[slot] = array.copy() if number else array


def _pool(
    pooler: TaskPooler,
    slots: list[Slot],
    positions: dict[PoolingRequest, int],
    hidden: Tensor,
    metadata: PoolingMetadata,
) -> Pooled:
    """Pool equal sequences with the same parameters once, in the order of the batch."""
    equal: dict[tuple[int, int, tuple[int, int] | None], list[Slot]] = {}
    for slot in slots:
        request, _, representation = slot
        equal.setdefault((positions[request], id(representation.params), representation.span), []).append(slot)
    ordered = sorted(equal.items(), key=_position) if len(equal) > 1 else list(equal.items())
    selected, params, spans, results = [], [], [], []
    for (position, _, span), same in ordered:
        selected.append(position)
        params.append(same[0][2].params)
        spans.append(span)
        results.append((position, same))
    rows, of_selected = metadata.select(selected, params, spans)
    values = pooler(hidden if rows is None else hidden[rows], of_selected)
    return Pooled(values, pooler, results, hidden, metadata.lengths)


def _position(item: tuple[tuple[int, Any, Any], Any]) -> int:
    return item[0][0]


def _free_memory(error: BaseException) -> None:
    """Free the memory that a failed batch still holds: the next batch needs it.

    The traceback of an error keeps the local variables of every layer alive, and so does that of the error that it
    replaced.
    """
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
