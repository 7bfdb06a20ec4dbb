"""PreprocessingPool: encodes prompts in threads outside the event loop; concurrent small calls are encoded together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from millpond.pipeline.bound_task import BoundTask, Items
from millpond.pipeline.cancellation import CancellableWork
from millpond.pipeline.io_processor import Job
from millpond.types.errors import EngineError
from millpond.types.prompts import may_hold_media, remote_images

NUM_THREADS = 2
THREAD_NAME_PREFIX = "millpond-render"
NUM_MEDIA_THREADS = 8  # for prompts with images: they wait for disks and decoders, and texts must not wait for them
NUM_REMOTE_THREADS = 16  # for prompts with remote images: slow hosts must not delay local images
MAX_GATHER_WAIT_S = 0.5  # small calls that wait longer for the gathering thread get another thread
MAX_SMALL_CALL_PROMPTS = 16
MAX_SHORT_TEXT_CHARS = 512
MAX_SMALL_CALL_CHARS = 8192  # a longer call is encoded separately, so that it does not delay others
T = TypeVar("T")


@dataclass(eq=False)
class PendingCall:
    """A call that waits for its encoding; ``jobs`` is resolved on its event loop."""

    task: BoundTask
    indices: Sequence[int]
    items: Items
    jobs: "asyncio.Future[list[Job]]"


class RunningWork(NamedTuple):
    """A thread that is working, and the start of its work by ``time.monotonic``."""

    thread: threading.Thread
    began: float


class PreprocessingPool:
    """The threads that encode prompts and decode results.

    Handing a call to a thread and waking its event loop costs more than tokenizing a few short texts. Therefore, while
    one thread encodes small calls, new ones are gathered and then encoded together.
    """

    def __init__(self) -> None:
        self._running: dict[int, RunningWork] = {}
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix=THREAD_NAME_PREFIX)
        self._media_threads = ThreadPoolExecutor(NUM_MEDIA_THREADS, thread_name_prefix="millpond-media")
        self._remote_threads = ThreadPoolExecutor(NUM_REMOTE_THREADS, thread_name_prefix="millpond-remote")
        self._lock = threading.Lock()
        self._pending: list[PendingCall] = []
        self._is_gathering = False
        self._began = 0.0  # start of the latest batch of small calls

    async def encode(self, task: BoundTask, indices: Sequence[int], items: Items) -> list[Job]:
        """Call ``BoundTask.encode`` on a thread; if cancelled, it stops before the next image."""
        if not is_small(items):
            return await self.run(partial(task.encode, indices, items), self._threads_for([data for data, _ in items]))
        loop = asyncio.get_running_loop()
        call = PendingCall(task, indices, items, loop.create_future())
        with self._lock:
            is_first = not self._pending
            self._pending.append(call)
            if not self._is_gathering:
                self._start_gathering()
                is_first = False
        if is_first:
            loop.call_later(MAX_GATHER_WAIT_S, self._start_if_overdue)
        return await call.jobs

    def _threads_for(self, prompts: Sequence[object]) -> ThreadPoolExecutor:
        if not any(map(may_hold_media, prompts)):
            return self._threads
        return self._media_threads if next(remote_images(prompts), None) is None else self._remote_threads

    async def run(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        """Call a function on a thread; if cancelled, it may go on until it checks that."""
        cancellable = CancellableWork(work)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                threads or self._threads, self._recorded, cancellable
            )
        except asyncio.CancelledError:
            cancellable.cancel()  # the thread may be decoding the first of many images
            raise

    def running(self) -> list[RunningWork]:
        """Return the work that the threads are doing; any thread may call it."""
        return list(self._running.values())

    def close(self) -> None:
        """Stop the threads after the work that was submitted."""
        self._threads.shutdown(wait=False)
        self._media_threads.shutdown(wait=False)
        self._remote_threads.shutdown(wait=False)

    def _start_gathering(self) -> None:
        """Encode the pending calls on a thread; the lock is held."""
        self._threads.submit(self._encode_pending)
        self._is_gathering, self._began = True, monotonic()

    def _start_if_overdue(self) -> None:
        """Use another thread if the gathering one has been encoding the same batch for too long."""
        with self._lock:
            if self._pending and monotonic() - self._began >= MAX_GATHER_WAIT_S:
                with suppress(RuntimeError):  # the pool was closed
                    self._start_gathering()

    def _recorded(self, work: Callable[..., T], *arguments: Any) -> T:
        key = threading.get_ident()
        self._running[key] = RunningWork(threading.current_thread(), monotonic())
        try:
            return work(*arguments)
        finally:
            del self._running[key]

    def _encode_pending(self) -> None:
        while True:
            with self._lock:
                pending, self._pending = self._pending, []
                if not pending:
                    self._is_gathering = False
                    return
                self._began = monotonic()
            calls_by_task: dict[BoundTask, list[PendingCall]] = {}
            for call in pending:
                calls_by_task.setdefault(call.task, []).append(call)
            for task, calls in calls_by_task.items():
                self._recorded(self._encode_calls, task, calls)

    def _encode_calls(self, task: BoundTask, calls: Sequence[PendingCall]) -> None:
        """Encode calls of one task together. ``BoundTask.encode`` should not raise; if it does, each call fails."""
        try:
            jobs: Sequence[list[Job] | Exception] = _encoded(task, calls)
        except BaseException as error:  # noqa: BLE001  otherwise the calls would wait forever
            jobs = [error if isinstance(error, Exception) else EngineError(repr(error))] * len(calls)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[PendingCall, list[Job] | Exception]]] = {}
        for call, result in zip(calls, jobs, strict=True):
            by_loop.setdefault(call.jobs.get_loop(), []).append((call, result))
        for loop, results in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: no caller is waiting
                loop.call_soon_threadsafe(_resolve, results)


def _encoded(task: BoundTask, calls: Sequence[PendingCall]) -> list[list[Job]]:
    """Return the jobs of each call.

    Calls are encoded together unless they would share sequences, because each call can be cancelled separately.
    """
    if len(calls) == 1:
        return [task.encode(calls[0].indices, calls[0].items)]
    indices = [index for call in calls for index in call.indices]
    jobs = iter(task.encode(indices, [item for call in calls for item in call.items]))
    jobs_by_call = [[next(jobs) for _ in call.items] for call in calls]
    owners: dict[int, int] = {}
    for number, call_jobs in enumerate(jobs_by_call):
        for sequence in (sequence for job in call_jobs for sequence in job.sequences):
            if owners.setdefault(id(sequence), number) != number:
                return [task.encode(call.indices, call.items) for call in calls]
    return jobs_by_call


def is_small(items: Items) -> bool:
    """True if the prompts of a call are a few short texts."""
    if len(items) > MAX_SMALL_CALL_PROMPTS:
        return False
    num_chars = 0
    for data, _ in items:
        if not isinstance(data, str):
            return False
        num_chars += len(data)
    return num_chars <= MAX_SMALL_CALL_CHARS


def is_short(items: Items) -> bool:
    """True if a call has one short text: encoding it takes no longer than two thread switches."""
    return len(items) == 1 and isinstance(items[0][0], str) and len(items[0][0]) <= MAX_SHORT_TEXT_CHARS


def _resolve(results: Sequence[tuple[PendingCall, "list[Job] | Exception"]]) -> None:
    for call, result in results:
        if call.jobs.done():
            continue  # the call was cancelled
        if isinstance(result, Exception):
            call.jobs.set_exception(result)
        else:
            call.jobs.set_result(result)
