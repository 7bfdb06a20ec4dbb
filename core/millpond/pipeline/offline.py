"""SyncDriver: steps the engine in the caller's thread; while one window is computed, the next one is encoded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from millpond.pipeline.bound_task import BoundTask, Job
from millpond.pipeline.io_processor import Item
from millpond.pipeline.pipeline import windows
from millpond.types.config import EngineConfig, ModelConfig
from millpond.types.prompts import may_hold_media

if TYPE_CHECKING:
    from millpond.engine.engine import Engine
    from millpond.engine.request import PoolingRequest

WAITING_BATCHES = 16  # full batches for each worker that wait; more need not be encoded yet
WAITING_IMAGE_BATCHES = 2  # of images, whose values take kilobytes a token
# Items of a window that may hold images: where these are among texts, each may take a hundred megabytes.
IMAGES_AT_ONCE, IMAGES_IN_TEXT_AT_ONCE = 128, 16
FIRST_WINDOW = 64


class SyncDriver:
    """Drives the engine for one call at a time, as ``BackgroundEngine`` drives it for many."""

    def __init__(self, model: ModelConfig, engine: "Engine", config: EngineConfig) -> None:
        self._model = model
        self._engine = engine
        self._config = config

    def run(self, task: BoundTask, places: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        """Yield the jobs of the items at some places as they end."""
        if len(places) <= FIRST_WINDOW:
            first = items if len(places) == len(items) else [items[place] for place in places]
            if len(places) <= IMAGES_IN_TEXT_AT_ONCE or not self._may_hold_images(items):
                yield from self._compute(task.encode(places, first))
                return
        yield from self._run_windows(task, places, items)

    def _run_windows(self, task: BoundTask, places: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        shared: dict[Any, Any] = {}

        def encode(window: range) -> list[Job]:
            chosen = places[window.start : window.stop]
            return task.encode(chosen, [items[place] for place in chosen], shared)

        sees = self._may_hold_images(items)
        largest = IMAGES_AT_ONCE if self._model.multimodal.image_reader is None else IMAGES_IN_TEXT_AT_ONCE
        total = len(places)
        ranges = windows(total, first=min(largest, FIRST_WINDOW), largest=largest) if sees else windows(total)
        batches = WAITING_IMAGE_BATCHES if sees else WAITING_BATCHES
        ready = encode(next(ranges, range(0)))
        with ThreadPoolExecutor(1, thread_name_prefix="millpond-render") as pool:

            def encode_next() -> Future[list[Job]] | None:
                window = next(ranges, None)
                return None if window is None else pool.submit(encode, window)

            coming = encode_next()
            yield self._start(ready)
            while coming is not None or self._engine.has_work:
                if coming is not None and (coming.done() or not self._engine.has_work) and self._has_room(batches):
                    ready, coming = coming.result(), encode_next()
                    yield self._start(ready)
                    continue
                yield _ended(self._engine.step())

    def _may_hold_images(self, items: Sequence[Item]) -> bool:
        return "image" in self._model.multimodal.modalities and any(may_hold_media(item.data) for item in items)

    def _compute(self, jobs: list[Job]) -> Iterator[list[Job]]:
        yield self._start(jobs)
        while self._engine.has_work:
            yield _ended(self._engine.step())

    def _start(self, jobs: list[Job]) -> list[Job]:
        """Let the sequences of jobs wait, longest first; return the jobs that need no computing."""
        waiting = new_sequences(jobs)
        if len(waiting) > 1:
            waiting.sort(key=_num_tokens, reverse=True)
        for sequence in waiting:
            self._engine.add(sequence)
        return [job for job in jobs if job.left == 0]

    def _has_room(self, batches: int) -> bool:
        """True if fewer than that many batches for each worker wait: memory stays bounded."""
        most = batches * self._engine.runner.num_workers * self._config.max_num_batched_tokens
        return self._engine.scheduler.waiting_tokens < most


def new_sequences(jobs: Sequence[Job]) -> "list[PoolingRequest]":
    """Return the sequences of jobs that are to be computed, each once, and note which jobs wait for them."""
    found: list[PoolingRequest] = []
    for job in jobs:
        for sequence in job.work.sequences:
            if sequence.is_ready:
                continue
            if sequence.state.owner is None:
                sequence.state.owner = []
                found.append(sequence)
            sequence.state.owner.append(job)
            job.left += 1
    return found


def _num_tokens(sequence: "PoolingRequest") -> int:
    return sequence.num_tokens


def _ended(sequences: "list[PoolingRequest]") -> list[Job]:
    """The jobs that have ended with the last of their sequences."""
    ended: list[Job] = []
    for sequence in sequences:
        sequence.is_ready = True
        jobs, sequence.state.owner = sequence.state.owner, None
        for job in jobs:
            job.left -= 1
            if job.left == 0:
                ended.append(job)
    return ended
