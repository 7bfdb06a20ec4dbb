"""What an engine notes about itself: how far each batch has come, layer by layer, and how fast batches are."""

import threading
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from millpond.engine.request import PoolingRequest

MARKS = 4  # layers of a model that note their begin: each costs two microseconds a batch
REMEMBERED = 0.9  # of what is known so far, a batch; about the latest ten batches count
AS_OFTEN = 4  # times; a model that calls these layers more often in one batch goes round in circles


class Progress:
    """Notes on a batch's first request when one of some layers of the model began last: ``RequestState.advanced``.

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
        batch[0].state.advanced = perf_counter()
        self._own.first, self._own.left = batch[0], AS_OFTEN * self.marks

    def end(self) -> None:
        """This thread computes no batch any more."""
        self._own.first = None

    def _note(self, *_: Any) -> None:
        own = self._own
        first = getattr(own, "first", None)
        if first is not None and own.left > 0:
            own.left -= 1
            first.state.advanced = perf_counter()


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


class Throughput:
    """Tokens a second of the time in which at least one batch ran; batches may overlap.

    Attributes:
        rate: Tokens a second; 0.0 until a batch has ended.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._tokens = 0.0
        self._seconds = 0.0
        self._last = float("-inf")

    def note(self, tokens: int, *, began: float, ended: float) -> None:
        """Take in a batch.

        Args:
            tokens: The tokens it computed.
            began: When it was started, by a clock in seconds.
            ended: When it ended, by the same clock; no earlier than that of the batch before.
        """
        self._tokens = REMEMBERED * self._tokens + tokens
        self._seconds = REMEMBERED * self._seconds + max(ended - max(began, self._last), 0.0)
        self._last = ended
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds

    def seconds_for(self, tokens: float) -> float:
        """How long so many tokens will take; 0.0 where nothing is known yet."""
        return tokens / self.rate if self.rate > 0 else 0.0
