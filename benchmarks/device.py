"""How long a device computes: CUDA events around the forward passes of a model; on a CPU the clock of its thread."""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn


class Stopwatch(Protocol):
    """Measures spans on a device."""

    def start(self) -> None:
        """Begin a span."""

    def stop(self) -> None:
        """End it."""

    def seconds(self) -> float:
        """How long all spans were together; waits until the device is done."""


class DeviceStopwatch:
    """Spans on a CUDA device, measured by its own events: what the host does meanwhile does not count."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """Begin a span."""
        self._spans.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
        self._spans[-1][0].record(torch.cuda.current_stream(self.device))

    def stop(self) -> None:
        """End it."""
        self._spans[-1][1].record(torch.cuda.current_stream(self.device))

    def seconds(self) -> float:
        """How long all spans were together."""
        torch.cuda.synchronize(self.device)
        milliseconds: float = sum(start.elapsed_time(end) for start, end in self._spans)
        return milliseconds / 1e3


class ThreadStopwatch:
    """Spans of CPU time, each of the thread that it begins and ends in."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}
        self._spans: list[float] = []

    def start(self) -> None:
        """Begin a span."""
        self._started[threading.get_ident()] = time.thread_time()

    def stop(self) -> None:
        """End it."""
        self._spans.append(time.thread_time() - self._started.pop(threading.get_ident()))

    def seconds(self) -> float:
        """How long all spans were together."""
        return sum(self._spans)


def stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch of a device."""
    return DeviceStopwatch(device) if device.type == "cuda" else ThreadStopwatch()


def timed_run(model: nn.Module, work: Callable[[], object]) -> dict[str, Any]:
    """Do some work: its wall seconds, and how long the device computed a model's forward passes meanwhile.

    Args:
        model: Its forward passes are measured, whichever thread they run in.
        work: What calls the model.
    """
    device = next(model.parameters()).device
    watch = stopwatch(device)
    hooks = [
        model.register_forward_pre_hook(lambda *_: watch.start()),
        model.register_forward_hook(lambda *_: watch.stop()),
    ]
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall = time.perf_counter() - begun
    for hook in hooks:
        hook.remove()
    return {"wall": wall, "device": watch.seconds()}
