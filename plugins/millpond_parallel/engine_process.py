"""An engine process: loads the model, computes the batches that it receives, and exits with the program.

It is started with the descriptors of its socket and of both shared memories, and the process id of the program. It does
not import the program's main module. Torch is imported after the process is pinned to its cores.
"""

import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from millpond_parallel.channel import Channel, ChannelClosedError, Kind, Message

if TYPE_CHECKING:
    from millpond.engine.executor import Executor, Outcome
    from millpond.engine.request import PoolingRequest
    from millpond_parallel.setup import EngineProcessSetup

PROGRESS_INTERVAL_S: Final = 0.1
PROGRAM_EXIT_CODE: Final = 0
FAILURE_EXIT_CODE: Final = 1
IGNORED_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""A terminal or service manager sends these to all processes of a program, which stops its engine processes itself."""


class Start(NamedTuple):
    """The first message to an engine process, without types that would import torch.

    Attributes:
        name: The name of the engine, for log messages.
        cores: The cores to pin the process to; empty for all.
        log_level: The level of log messages.
        setup: The pickled ``EngineProcessSetup``.
    """

    name: str
    cores: tuple[int, ...]
    log_level: int
    setup: bytes


class Ready(NamedTuple):
    """The message of an engine process that has loaded its model.

    Attributes:
        num_workers: The number of batches it computes at a time.
        num_hooks: The number of layers that report progress.
    """

    num_workers: int
    num_hooks: int


def main() -> None:
    """Run an engine process until the program closes the connection or ends."""
    descriptor, outgoing, incoming, parent = map(int, sys.argv[1:])
    for name in IGNORED_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor), outgoing, incoming)
    for unneeded in (outgoing, incoming):
        os.close(unneeded)
    os.set_inheritable(descriptor, False)
    try:
        _run(channel, parent)
    except ChannelClosedError:
        os._exit(PROGRAM_EXIT_CODE)
    except BaseException:  # noqa: BLE001  the process exits without waiting for threads that compute
        traceback.print_exc()
        os._exit(FAILURE_EXIT_CODE)


def _run(channel: Channel, parent: int) -> None:
    start: Start = _next(channel, parent).content
    if start.cores:
        os.sched_setaffinity(0, start.cores)
    logging.basicConfig(level=start.log_level, format=f"%(levelname)s engine {start.name}: %(message)s")
    try:
        engine = _Engine(channel, _load(pickle.loads(start.setup)))  # noqa: S301  from the program
    except BaseException as error:  # noqa: BLE001  the program raises it
        from millpond_parallel.errors import pack_error  # noqa: PLC0415  needs millpond, which is slow to import

        channel.send(Kind.FAILED, content=pack_error(error))
        os._exit(FAILURE_EXIT_CODE)
    channel.send(Kind.READY, content=Ready(engine.runner.num_workers, engine.runner.num_hooks))
    while (message := _next(channel, parent)).kind is Kind.BATCH:
        engine.compute(message)
    os._exit(PROGRAM_EXIT_CODE)


def _next(channel: Channel, parent: int) -> Message:
    """Return the next message; exit if the program has ended, even if a child of it still holds the connection."""
    while (message := channel.receive(timeout=1.0)) is None:
        if os.getppid() != parent:
            os._exit(PROGRAM_EXIT_CODE)
    return message


def _load(setup: "EngineProcessSetup") -> "Executor":
    """Load the model. The program has logged its warnings already."""
    import torch  # noqa: PLC0415  after the process is pinned

    from millpond.executor import open_executor  # noqa: PLC0415  as above
    from millpond.loading.build import build_model, resolve_model  # noqa: PLC0415

    torch.set_num_threads(setup.num_threads)
    with _silent():
        plugins = setup.manager()
        registry = plugins.registry
        repository = replace(setup.repository, plugins=registry)
        repository.require_unchanged()  # an engine that is started again must not compute with another model
        layers, device = resolve_model(registry, repository, setup.arguments)
        loaded = build_model(layers, setup.arguments, device)
        repository.require_unchanged()
    return open_executor(loaded, setup.arguments, plugins)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


class _Engine:
    """Computes batches with a runner, and reports results and progress."""

    def __init__(self, channel: Channel, runner: "Executor") -> None:
        from millpond_parallel.batches import KnownPrefixes  # noqa: PLC0415  imports numpy, after the process is pinned

        self.runner = runner
        self._channel = channel
        self._prefixes = KnownPrefixes()
        self._running: dict[int, PoolingRequest] = {}  # the first request of each batch, which records its progress
        threading.Thread(target=self._report_progress, name="millpond-progress", daemon=True).start()

    def compute(self, message: Message) -> None:
        """Start a batch."""
        from millpond_parallel.batches import unpack_batch  # noqa: PLC0415  as above

        if message.error is not None:
            self._fail(message.number, message.error)
            return
        requests = unpack_batch(message.content, self._prefixes)
        self._running[message.number] = requests[0]
        self.runner.submit(requests, partial(self._finish, message.number))

    def _finish(self, number: int, outcome: "Outcome") -> None:
        """Send the results of a batch, on the thread that computed it."""
        from millpond_parallel.batches import pack_results  # noqa: PLC0415  as above

        if self.runner.crash is not None:
            logging.getLogger("millpond").error("%s", self.runner.crash)
            os._exit(FAILURE_EXIT_CODE)  # the program starts another process and computes the batch there
        del self._running[number]
        try:
            self._channel.send(Kind.RESULT, number, pack_results(outcome))
        except ChannelClosedError:
            pass  # the main thread ends the process
        except Exception as error:  # noqa: BLE001  such as MemoryError; the program waits for an answer
            self._fail(number, error)

    def _fail(self, number: int, error: Exception) -> None:
        """Send the error of a batch."""
        from millpond_parallel.batches import pack_failure  # noqa: PLC0415  as above

        with contextlib.suppress(ChannelClosedError):
            self._channel.send(Kind.RESULT, number, pack_failure(error))

    def _report_progress(self) -> None:
        reported: dict[int, float] = {}
        pause = threading.Event()
        while not pause.wait(PROGRESS_INTERVAL_S):
            progress = {number: request.state.advanced for number, request in list(self._running.items())}
            if progress != reported:
                with contextlib.suppress(ChannelClosedError):
                    self._channel.send(Kind.PROGRESS, content=progress)
                reported = progress


if __name__ == "__main__":
    main()
