"""ProcessExecutor: the executor `mp`, which computes batches in engine processes of this machine."""

import logging
import socket
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from millpond.engine.executor import EngineStatus, Outcome
from millpond.engine.request import PoolingRequest
from millpond.executor import EngineSetup
from millpond.types.errors import InvalidInputError
from millpond_parallel.engine_process import Start
from millpond_parallel.placement import place
from millpond_parallel.pool import EnginePool, Flight, Slot
from millpond_parallel.setup import import_path, setup_for

if TYPE_CHECKING:
    import torch


class ProcessExecutor:
    """Computes batches in engine processes, each with its own copy of the model.

    The engine with the fewest queued tokens gets the next batch. The batches of a process that ends run again on
    another one, and a new process is started. If no process is left, ``crash`` is set.

    Args:
        setup: The model and its arguments.

    Attributes:
        device: The device of the first engine.
        inline_threads: 0: no batch is computed in this process.

    Raises:
        InvalidInputError: If the system, the devices or the arguments do not permit several processes.
        MillpondError: If an engine process cannot load the model.
    """

    def __init__(self, setup: EngineSetup) -> None:
        if not hasattr(socket, "recv_fds"):
            message = "data_parallel_size needs Linux or macOS: engine processes share memory over Unix sockets"
            raise InvalidInputError(message, parameter="data_parallel_size")
        self.inline_threads = 0
        self.device: torch.device = setup.loaded.context.device
        level = logging.getLogger("millpond").getEffectiveLevel()
        slots = [
            Slot(Start(str(index), location.cores, level, setup_for(setup, location)), location)
            for index, location in enumerate(place(setup.arguments.parallel, self.device))
        ]
        # The threads of the pool do not refer to this object: a model that is no longer used ends its processes.
        self._pool = EnginePool(slots, import_path())
        self._finalizer = weakref.finalize(self, self._pool.close)
        self._pool.open()

    @property
    def on_change(self) -> Callable[[], None]:
        """The function to call after a change of ``num_workers`` or ``crash``."""
        return self._pool.on_change

    @on_change.setter
    def on_change(self, on_change: Callable[[], None]) -> None:
        self._pool.on_change = on_change

    @property
    def num_workers(self) -> int:
        """The number of batches that the loaded processes compute at a time, at least 1."""
        return max(sum(slot.num_workers for slot in self._pool.slots), 1)

    @property
    def num_hooks(self) -> int:
        """The number of layers that report the progress of a batch."""
        return self._pool.num_hooks

    @property
    def crash(self) -> BaseException | None:
        """The error once no process is left; None before."""
        return self._pool.crash

    def submit(self, requests: list[PoolingRequest], done: Callable[[Outcome], None]) -> None:
        """Compute a batch on the engine with the fewest queued tokens, then call ``done`` on another thread."""
        self._pool.submit(Flight(requests, done, sum(request.num_tokens for request in requests)))

    def run(self, requests: list[PoolingRequest]) -> Outcome:
        """Compute a batch and return its outcome."""
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self.submit(requests, outcomes.put)
        return outcomes.get()

    def abandon(self, requests: list[PoolingRequest]) -> None:
        """Kill the process that computes a batch; its other batches run again on another one."""
        self._pool.abandon(requests)

    def stopped(self, requests: list[PoolingRequest]) -> str | None:
        """Return why a batch makes no progress if its process was stopped from outside; None otherwise."""
        return self._pool.stopped(requests)

    def statuses(self) -> list[EngineStatus]:
        """Return the state of each engine."""
        return [slot.status() for slot in self._pool.slots]

    def close(self) -> None:
        """Stop the processes. Batches that they compute are lost; further calls have no effect."""
        self._finalizer()
