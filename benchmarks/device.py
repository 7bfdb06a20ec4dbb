"""Measure the computing time of a device: with CUDA events, or the CPU time of the thread."""

import threading
import time
from typing import Protocol

import torch


class Stopwatch(Protocol):
    """Measures time spans on a device."""

    def start(self) -> None:
        """Begin a span."""

    def stop(self) -> None:
        """End the span."""

    def seconds(self) -> float:
        """Return the total duration of all spans; waits for the device."""


class DeviceStopwatch:
    """Measures spans on a CUDA device with events, independent of the host."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """Begin a span."""
        self._spans.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
        self._spans[-1][0].record(torch.cuda.current_stream(self.device))

    def stop(self) -> None:
        """End the span."""
        self._spans[-1][1].record(torch.cuda.current_stream(self.device))

    def seconds(self) -> float:
        """Return the total duration of all spans."""
        torch.cuda.synchronize(self.device)
        milliseconds: float = sum(start.elapsed_time(end) for start, end in self._spans)
        return milliseconds / 1e3


class ThreadStopwatch:
    """Measures spans of CPU time; a span begins and ends in the same thread."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}
        self._spans: list[float] = []

    def start(self) -> None:
        """Begin a span."""
        self._started[threading.get_ident()] = time.thread_time()

    def stop(self) -> None:
        """End the span."""
        self._spans.append(time.thread_time() - self._started.pop(threading.get_ident()))

    def seconds(self) -> float:
        """Return the total duration of all spans."""
        return sum(self._spans)


def stopwatch(device: torch.device) -> Stopwatch:
    """Return the stopwatch for a device."""
    return DeviceStopwatch(device) if device.type == "cuda" else ThreadStopwatch()
