"""Measurements of a running engine: the progress of each batch through the layers, and the throughput."""

import threading
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from millpond.engine.request import PoolingRequest

MAX_HOOKED_LAYERS = 4  # layers that record when they start; each hook costs two microseconds per batch
DECAY_PER_BATCH = 0.9  # weight of earlier batches in the throughput: about the last ten count
MAX_CALLS_PER_LAYER = 4  # more calls than this in one batch indicate an infinite loop


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
    progress = _progress_by_model.get(model)
    if progress is None:
        progress = _progress_by_model[model] = Progress(model)
    return progress


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost module lists."""
    layers: list[nn.Module] = []
    for child in module.children():
        layers += child if isinstance(child, nn.ModuleList) else _layers(child)
    return layers


class Throughput:
    """Tokens per second while at least one batch runs; batches may overlap.

    Attributes:
        rate: Tokens per second; 0.0 until a batch has ended.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._tokens = 0.0
        self._seconds = 0.0
        self._last = float("-inf")

    def note(self, tokens: int, *, began: float, ended: float) -> None:
        """Add a computed batch.

        Args:
            tokens: Its number of tokens.
            began: Its start, in seconds.
            ended: Its end, by the same clock; not earlier than the end of the previous batch.
        """
        self._tokens = DECAY_PER_BATCH * self._tokens + tokens
        self._seconds = DECAY_PER_BATCH * self._seconds + max(ended - max(began, self._last), 0.0)
        self._last = ended
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds

    def seconds_for(self, tokens: float) -> float:
        """Return the expected seconds for a number of tokens; 0.0 until a batch has ended."""
        return tokens / self.rate if self.rate > 0 else 0.0
