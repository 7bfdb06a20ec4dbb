"""EnginePool: gives each batch to the engine process with the fewest queued tokens, and replaces dead processes."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from millpond.engine.executor import EngineStatus, Outcome
from millpond.engine.request import PoolingRequest
from millpond.types.errors import EngineClosedError, EngineError
from millpond_parallel.batches import pack_batch, unpack_results
from millpond_parallel.channel import Kind, Message
from millpond_parallel.engine_process import Ready, Start
from millpond_parallel.errors import EngineProcessError, unpack_error
from millpond_parallel.placement import Placement
from millpond_parallel.process import EngineProcess, ending

logger = logging.getLogger(__name__)
MAX_ATTEMPTS: Final = 3
"""A batch fails if this many engine processes end while they compute it; the engine then divides it."""
GPU_BATCHES: Final = 2  # batches of an engine on a GPU: one is computed while the next one is sent
MAX_RESTART_DELAY_S: Final = 30.0
STOPPED_WARNING_S: Final = 10.0
"""The time after which a warning names a stopped process that has work; calls without a time limit wait for it."""


@dataclass(eq=False)
class Flight:
    """A batch that an engine process computes.

    Attributes:
        requests: Its requests.
        done: Called with its outcome.
        tokens: Its number of tokens.
        attempts: The number of engine processes that ended while they computed it.
    """

    requests: list[PoolingRequest]
    done: Callable[[Outcome], None]
    tokens: int
    attempts: int = 0


@dataclass(eq=False)
class Slot:
    """An engine: its placement, and its present process.

    Attributes:
        start: The first message to its processes.
        location: Its device and cores.
        process: The present process; None before the first.
        num_workers: The number of batches it computes at a time; 0 while no process has loaded the model.
        flights: The batches it computes, by number.
        queued_tokens: The tokens of these batches.
        batches: The number of computed batches.
        tokens: The number of computed tokens.
        restarts: The number of processes started after the first.
        failures: The number of processes that ended since the last computed batch.
        end: How the last process ended, in words.
        stopped_at: The time when its process was first seen stopped while it had work; None while it runs.
    """

    start: Start
    location: Placement
    process: EngineProcess | None = None
    num_workers: int = 0
    flights: dict[int, Flight] = field(default_factory=dict)
    queued_tokens: int = 0
    batches: int = 0
    tokens: int = 0
    restarts: int = 0
    failures: int = 0
    end: str = ""
    stopped_at: float | None = None

    @property
    def label(self) -> str:
        """Its name in messages, with the id of the present process."""
        return f"engine process {self.start.name}" + ("" if self.process is None else f" (pid {self.process.pid})")

    def take(self, number: int) -> Flight | None:
        """Remove and return a batch; None if it runs elsewhere."""
        flight = self.flights.pop(number, None)
        self.queued_tokens -= 0 if flight is None else flight.tokens
        return flight

    def take_all(self) -> list[Flight]:
        """Remove and return all batches."""
        flights = list(self.flights.values())
        self.flights.clear()
        self.queued_tokens = 0
        return flights

    def status(self) -> EngineStatus:
        """Return its state."""
        return EngineStatus(
            name=self.start.name,
            device=self.location.device,
            pid=None if self.process is None else self.process.pid,
            is_alive=self.num_workers > 0,
            queued_tokens=self.queued_tokens,
            batches=self.batches,
            tokens=self.tokens,
            restarts=self.restarts,
        )


class EnginePool:
    """The engine processes of a model.

    Args:
        slots: The engines, not started yet.
        import_path: The folders from which the processes import modules.

    Attributes:
        slots: The engines.
        num_hooks: The number of layers that report progress.
        crash: The error once no process is left; None before.
        on_change: Called after a process has loaded the model or has ended.
    """

    def __init__(self, slots: Sequence[Slot], import_path: list[str]) -> None:
        self.slots = slots
        self.num_hooks = 0
        self.crash: EngineClosedError | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._import_path = import_path
        self._program = os.getpid()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._numbers = count(1)
        self._is_loaded = False
        self._load_error: BaseException | None = None

    def open(self) -> None:
        """Start the processes, and wait until all have loaded the model.

        Raises:
            MillpondError: If one cannot load it.
        """
        try:
            with self._changed:
                for slot in self.slots:
                    self._start(slot)
                self._changed.wait_for(lambda: self._load_error or all(slot.num_workers for slot in self.slots))
                self._raise_load_error()
                self._is_loaded = True
        except BaseException:
            self.close()
            raise

    def submit(self, flight: Flight) -> None:
        """Give a batch to the engine with the fewest queued tokens; its outcome is the error if there is no engine."""
        with self._changed:
            loaded = [slot for slot in self.slots if slot.num_workers]
            slot = min(loaded, key=lambda it: it.queued_tokens, default=None)
            process, number = None if slot is None else slot.process, next(self._numbers)
            if slot is not None and process is not None:
                slot.flights[number] = flight
                slot.queued_tokens += flight.tokens
        if slot is None or process is None:
            flight.done(Outcome(flight.requests, self.crash or EngineClosedError("the engine is closed")))
            return
        try:
            process.send(Kind.BATCH, number, pack_batch(flight.requests))
        except Exception as error:  # noqa: BLE001  objects of IO processors may raise anything when they are pickled
            with self._changed:
                slot.take(number)
            failure = EngineError(f"cannot send this request to an engine process: {type(error).__name__}: {error}")
            failure.__cause__ = error
            flight.done(Outcome(flight.requests, failure))

    def abandon(self, requests: list[PoolingRequest]) -> None:
        """Kill the process that computes a batch; its other batches run again on another one."""
        with self._changed:
            for slot in self._slots_of(requests):
                logger.error("%s hangs: it is killed", slot.label)
                if slot.process is not None:
                    slot.process.kill()

    def stopped(self, requests: list[PoolingRequest]) -> str | None:
        """Return the message about the engine process of a batch that a signal has stopped; None if it runs."""
        with self._changed:
            stopped = [
                slot for slot in self._slots_of(requests) if slot.process is not None and slot.process.is_stopped
            ]
        if not stopped:
            return None
        return f"{stopped[0].label} was stopped by a signal or a debugger, and is replaced: send the request again"

    def close(self) -> None:
        """Stop the processes and wait until they have ended. Batches that they compute are lost."""
        if os.getpid() != self._program:
            return  # a fork of the program must not stop them
        with self._changed:
            self._closing.set()
            processes = [slot.process for slot in self.slots if slot.process is not None]
            for slot in self.slots:
                slot.num_workers = 0
        for process in processes:
            process.stop()
        for process in processes:
            process.wait()

    def _slots_of(self, requests: list[PoolingRequest]) -> list[Slot]:
        """Return the engines that compute these requests; the caller holds the lock."""
        wanted = set(requests)
        return [slot for slot in self.slots if any(wanted & {*it.requests} for it in slot.flights.values())]

    def _raise_load_error(self) -> None:
        if self._load_error is not None:
            raise self._load_error

    def _start(self, slot: Slot) -> None:
        """Start the process of an engine; the caller holds the lock."""
        slot.process = EngineProcess(
            slot.start,
            slot.location.num_cores,
            self._import_path,
            partial(self._receive, slot),
            partial(self._end, slot),
        )

    def _receive(self, slot: Slot, message: Message | None) -> None:
        """Handle a message of an engine process, or that none has arrived, on the thread that receives."""
        if message is None:
            self.watch(slot)
        elif message.kind is Kind.RESULT:
            self._finish(slot, message)
        elif message.kind is Kind.PROGRESS:
            for number, advanced in message.content.items():
                flight = slot.flights.get(number)
                if flight is not None:
                    state = flight.requests[0].state
                    state.advanced = max(state.advanced, advanced)
        elif message.kind is Kind.READY:
            self._add(slot, message.content)
        elif message.kind is Kind.FAILED:
            self._report_load_error(slot, unpack_error(message.content))

    def watch(self, slot: Slot) -> None:
        """Warn once if a process that loads the model or has batches is stopped, such as by SIGSTOP."""
        process, has_work = slot.process, bool(slot.flights) or not slot.num_workers
        if process is None or not has_work or not process.is_stopped:
            slot.stopped_at = None
            return
        now = time.monotonic()
        slot.stopped_at = now if slot.stopped_at is None else slot.stopped_at
        if now - slot.stopped_at < STOPPED_WARNING_S:
            return
        slot.stopped_at = float("inf")
        work = f"computes {len(slot.flights)} batches" if slot.num_workers else "loads the model"
        logger.warning(
            "%s was stopped by a signal or a debugger while it %s: let it continue (kill -CONT %d), or kill it",
            *(slot.label, work, process.pid),
        )

    def _finish(self, slot: Slot, message: Message) -> None:
        with self._changed:
            flight = slot.take(message.number)
            if flight is None:
                return
            slot.batches += 1
            slot.tokens += flight.tokens
            slot.failures = 0
        if message.error is not None:
            flight.done(Outcome(flight.requests, message.error))
        else:
            flight.done(unpack_results(message.content, flight.requests))

    def _add(self, slot: Slot, ready: Ready) -> None:
        """Use an engine process that has loaded the model."""
        with self._changed:
            if self._closing.is_set() or self.crash is not None:
                return
            is_cpu = slot.location.device.startswith("cpu")
            slot.num_workers = ready.num_workers if is_cpu else max(ready.num_workers, GPU_BATCHES)
            self.num_hooks = ready.num_hooks
            self._changed.notify_all()
        if slot.restarts:
            logger.warning("%s is ready after a restart", slot.label)
        self.on_change()

    def _report_load_error(self, slot: Slot, error: BaseException) -> None:
        with self._changed:
            is_first = not self._is_loaded
            if is_first:
                self._load_error = self._load_error or error
                self._changed.notify_all()
        if not is_first:
            logger.error("%s cannot load the model: %s", slot.label, error)

    def _end(self, slot: Slot, code: int) -> None:
        """Handle the end of an engine process, on its thread: run its batches elsewhere and start another process."""
        with self._changed:
            if self._closing.is_set():
                return
            slot.num_workers, slot.end = 0, ending(code)
            if not self._is_loaded:
                message = f"{slot.label} {slot.end} before it had loaded the model"
                self._load_error = self._load_error or EngineClosedError(message)
                self._changed.notify_all()
                return
            flights = slot.take_all()
            if self.crash is None and not any(it.num_workers for it in self.slots):
                self.crash = EngineClosedError(f"no engine process is left: {self._ends()}. Load the model again")
            crash = self.crash
        if crash is not None:
            self._fail(flights, crash)
            return
        message = "%s %s: %d of its batches run again on another engine process, and it is started again"
        logger.error(message, slot.label, slot.end, len(flights))
        self.on_change()
        for flight in flights:
            self._retry(slot, flight)
        self._restart(slot)

    def _ends(self) -> str:
        return "; ".join(f"{slot.label} {slot.end or 'has not ended'}" for slot in self.slots)

    def _fail(self, flights: list[Flight], crash: EngineClosedError) -> None:
        for flight in flights:
            flight.done(Outcome(flight.requests, crash))
        self.on_change()
        for slot in self.slots:
            if slot.process is not None:
                slot.process.stop()

    def _retry(self, slot: Slot, flight: Flight) -> None:
        """Compute a batch again, unless it is abandoned or engine processes keep ending with it."""
        flight.attempts += 1
        if flight.attempts < MAX_ATTEMPTS and not all(request.state.cancelled for request in flight.requests):
            flight.requests[0].state.advanced = 0.0
            self.submit(flight)
            return
        message = f"{slot.label} {slot.end} while it computed this batch, attempt {flight.attempts}"
        flight.done(Outcome(flight.requests, EngineProcessError(message)))

    def _restart(self, slot: Slot) -> None:
        """Start an engine again: at once the first time, then after growing delays until it computes a batch."""
        while True:
            delay = 0.0 if slot.failures == 0 else min(2.0 ** (slot.failures - 1), MAX_RESTART_DELAY_S)
            slot.failures += 1
            self._closing.wait(delay)
            with self._changed:
                if self._closing.is_set() or self.crash is not None:
                    return
                try:
                    self._start(slot)
                except OSError as error:
                    logger.error("%s cannot be started: %s", slot.label, error)  # noqa: TRY400  the message suffices
                    continue
                slot.restarts += 1
                return
