"""Progress: what a batch has got through is noted on it, layer by layer, so that slow is told from stuck."""

import threading
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from millpond.engine.request import PoolingRequest

MARKS = 4  # layers of a model that note their begin: each costs two microseconds a batch
AS_OFTEN = 4  # times; a model that calls these layers more often in one batch goes round in circles


class Progress:
    """Notes on a batch's first request when one of some layers of the model began last: ``PoolingRequest.advanced``.

    Args:
        model: The model. The members of its lists of modules are its layers, whoever wrote it.

    Attributes:
        marks: How many layers note it, spread over the model; fewer than ``MARKS`` where it has not as many.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = _layers(model)
        self.marks = min(len(layers), MARKS)
        self._own = threading.local()
        for number in range(self.marks):
            layers[number * len(layers) // self.marks].register_forward_pre_hook(self._note)

    def begin(self, batch: list[PoolingRequest]) -> None:
        """This thread computes a batch from now on."""
        batch[0].advanced = perf_counter()
        self._own.first, self._own.left = batch[0], AS_OFTEN * self.marks

    def end(self) -> None:
        """This thread computes no batch any more."""
        self._own.first = None

    def _note(self, *_: Any) -> None:
        own = self._own
        first = getattr(own, "first", None)
        if first is not None and own.left > 0:
            own.left -= 1
            first.advanced = perf_counter()


_known: "WeakKeyDictionary[nn.Module, Progress]" = WeakKeyDictionary()


def progress_of(model: nn.Module) -> Progress:
    """The progress of a model; one for all runners that compute with it, one after another."""
    found = _known.get(model)
    if found is None:
        found = _known[model] = Progress(model)
    return found


def _layers(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules."""
    found: list[nn.Module] = []
    for child in module.children():
        found += child if isinstance(child, nn.ModuleList) else _layers(child)
    return found
