"""Executor: the protocol between the engine and the part that computes batches, in this process or in others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from millpond.engine.request import PoolingRequest


class Outcome(NamedTuple):
    """A computed batch, whose requests carry results or errors; ``error`` if the whole batch failed.

    ``shared_tokens`` of their tokens were not computed, because other sequences of a call begin with them.
    """

    requests: list[PoolingRequest]
    error: BaseException | None
    shared_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """The state of one of several engine processes.

    Attributes:
        name: Its name, such as "0"; restarts do not change it.
        device: Its device, such as "cuda:1".
        pid: Its process id; None while no process runs.
        is_alive: True if it computes batches; False while it starts again.
        queued_tokens: The tokens of its batches that have not ended.
        batches: The number of batches it has computed, including those before restarts.
        tokens: The number of tokens it has computed.
        restarts: The number of times it was started again.
    """

    name: str
    device: str
    pid: int | None
    is_alive: bool
    queued_tokens: int
    batches: int
    tokens: int
    restarts: int


class Executor(Protocol):
    """Computes batches. ``Runner`` computes them in this process.

    Methods are called on the engine's thread, except ``abandon``, ``stopped``, ``statuses`` and ``close``.

    Attributes:
        on_change: Called on any thread after a change of ``num_workers`` or ``crash``; set by the engine.
    """

    on_change: Callable[[], None]

    @property
    def num_workers(self) -> int:
        """The number of batches that may run at a time; it changes when a process ends or starts."""
        ...

    @property
    def num_hooks(self) -> int:
        """The number of layers that report the progress of a batch."""
        ...

    @property
    def inline_threads(self) -> int:
        """The number of threads that torch uses in ``run``, in the caller's thread; 0 if it computes elsewhere."""
        ...

    @property
    def crash(self) -> BaseException | None:
        """The error that stops the engine; None while batches can be computed."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the model, or of the first of several engines."""
        ...

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Start a batch, and call ``done`` on any thread when it ends. Exceptions are returned in the outcome."""
        ...

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch and return its outcome."""
        ...

    def abandon(self, requests: list[PoolingRequest]) -> None:
        """Stop the computation of a batch that hangs, if possible."""
        ...

    def stopped(self, requests: list[PoolingRequest]) -> str | None:
        """Return why a batch makes no progress if its process was stopped from outside; None otherwise."""
        ...

    def statuses(self) -> Sequence[EngineStatus]:
        """Return the state of each engine process; empty if batches are computed in this process."""
        ...

    def close(self) -> None:
        """Stop after the current batches. Further calls have no effect."""
        ...
