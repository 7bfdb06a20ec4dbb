"""Rendering: from prompts to requests on threads beside the event loop; small calls that come together go together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Generic, TypeVar

from millpond.pipeline.awaited import run_awaited
from millpond.pipeline.bound_task import BoundTask, Job
from millpond.pipeline.busy import Busy
from millpond.pipeline.io_processor import Item
from millpond.pipeline.remote import remote_images
from millpond.types.errors import EngineError, RequestCancelledError
from millpond.types.prompts import may_hold_media

THREADS = 2
NAME = "millpond-render"  # of these threads
MEDIA_THREADS = 8  # for prompts that may hold images: these wait for disks and decoders, texts must not wait for them
REMOTE_THREADS = 16  # for calls with images of other hosts, which may be slow: what is at hand must not wait for them
OVERDUE = 0.5  # seconds after which small calls wait no longer for a batch that came before them
FEW_PROMPTS = 16
FEW_CHARACTERS = 8192  # of a call; a longer one goes alone, lest others wait for it
T = TypeVar("T")
Items = Sequence[Item]


@dataclass(eq=False)
class Waiting:
    """A call whose prompts are to become requests; ``made`` is resolved on its event loop."""

    task: BoundTask
    places: Sequence[int]
    items: Items
    made: "asyncio.Future[list[Job]]"


class Kept(Generic[T]):
    """Work that waits for a thread, until it is dropped: pools keep what was cancelled, with all that it holds.

    Args:
        work: The work.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work

    def __call__(self) -> T:
        """Do it.

        Raises:
            RequestCancelledError: If it was dropped.
        """
        work, self._work = self._work, None
        if work is None:
            message = "nobody waits for the result any more"
            raise RequestCancelledError(message)
        return work()

    def drop(self) -> None:
        """Forget it."""
        self._work = None


class Rendering:
    """The threads on which prompts become requests, and results outputs.

    To hand a call to a thread and to be woken again costs more than to tokenise a few short texts: while one thread is
    at it, small calls that come meanwhile are gathered, and tokenised as one.

    Attributes:
        busy: What its threads are doing.
    """

    def __init__(self) -> None:
        self.busy = Busy()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=NAME)
        self._media_threads = ThreadPoolExecutor(MEDIA_THREADS, thread_name_prefix="millpond-media")
        self._remote_threads = ThreadPoolExecutor(REMOTE_THREADS, thread_name_prefix="millpond-remote")
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._is_busy = False
        self._began = 0.0  # when the last batch of small calls was taken

    async def prepare(self, task: BoundTask, places: Sequence[int], items: Items) -> list[Job]:
        """``BoundTask.encode`` on a thread; cancelled, it goes no further than the next image."""
        if not is_small(items):
            threads = self._threads_for([item.data for item in items])
            work, left = Kept(partial(task.encode, places, items)), threading.Event()
            try:
                return await asyncio.get_running_loop().run_in_executor(threads, self._noted, run_awaited, left, work)
            except asyncio.CancelledError:
                left.set()  # the thread may have begun, and have many images before it
                work.drop()
                raise
        loop = asyncio.get_running_loop()
        waiting = Waiting(task, places, items, loop.create_future())
        with self._lock:
            is_first = not self._waiting
            self._waiting.append(waiting)
            if not self._is_busy:
                self._begin()
                is_first = False
        if is_first:
            loop.call_later(OVERDUE, self._begin_beside)
        return await waiting.made

    def _threads_for(self, prompts: Sequence[object]) -> ThreadPoolExecutor:
        if not any(map(may_hold_media, prompts)):
            return self._threads
        return self._media_threads if next(remote_images(prompts), None) is None else self._remote_threads

    async def run(self, work: Callable[[], T]) -> T:
        """Have something done on a thread."""
        kept = Kept(work)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._noted, kept)
        except asyncio.CancelledError:
            kept.drop()
            raise

    def close(self) -> None:
        """End the threads, once they have done what they have."""
        self._threads.shutdown(wait=False)
        self._media_threads.shutdown(wait=False)
        self._remote_threads.shutdown(wait=False)

    def _begin(self) -> None:
        """Have a thread prepare the calls that wait; the lock is held."""
        self._threads.submit(self._prepare_waiting)
        self._is_busy, self._began = True, monotonic()

    def _begin_beside(self) -> None:
        """Use another thread where the one that gathers small calls has been at one batch of them for too long."""
        with self._lock:
            if self._waiting and monotonic() - self._began >= OVERDUE:
                with suppress(RuntimeError):  # it was closed
                    self._begin()

    def _noted(self, work: Callable[..., T], *arguments: Any) -> T:
        with self.busy.noted():
            return work(*arguments)

    def _prepare_waiting(self) -> None:
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, []
                if not waiting:
                    self._is_busy = False
                    return
                self._began = monotonic()
            tasks: dict[BoundTask, list[Waiting]] = {}
            for one in waiting:
                tasks.setdefault(one.task, []).append(one)
            for task, calls in tasks.items():
                self._noted(self._prepare, task, calls)

    def _prepare(self, task: BoundTask, calls: Sequence[Waiting]) -> None:
        """Encode all calls at once; where that fails, which it should not, each learns of it."""
        try:
            made: Sequence[list[Job] | Exception] = _encoded(task, calls)
        except BaseException as error:  # noqa: BLE001  whatever it is, no caller may wait for ever
            made = [error if isinstance(error, Exception) else EngineError(repr(error))] * len(calls)
        ended: dict[asyncio.AbstractEventLoop, list[tuple[Waiting, list[Job] | Exception]]] = {}
        for call, result in zip(calls, made, strict=True):
            ended.setdefault(call.made.get_loop(), []).append((call, result))
        for loop, results in ended.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_resolve, results)


def _encoded(task: BoundTask, calls: Sequence[Waiting]) -> list[list[Job]]:
    """The jobs of each call. Calls are encoded as one, unless they would share sequences: one may be cancelled."""
    places = [place for call in calls for place in call.places]
    jobs = iter(task.encode(places, [item for call in calls for item in call.items]))
    made = [[next(jobs) for _ in call.items] for call in calls]
    owners: dict[int, int] = {}
    for number, own in enumerate(made):
        for sequence in (sequence for job in own for sequence in job.work.sequences):
            if owners.setdefault(id(sequence), number) != number:
                return [task.encode(call.places, call.items) for call in calls]
    return made


def is_small(items: Items) -> bool:
    """True if the prompts of a call are few, short texts."""
    if len(items) > FEW_PROMPTS:
        return False
    characters = 0
    for data, _ in items:
        if not isinstance(data, str):
            return False
        characters += len(data)
    return characters <= FEW_CHARACTERS


def _resolve(results: Sequence[tuple[Waiting, "list[Job] | Exception"]]) -> None:
    for waiting, result in results:
        if waiting.made.done():
            continue  # the call was cancelled
        if isinstance(result, Exception):
            waiting.made.set_exception(result)
        else:
            waiting.made.set_result(result)
