"""SyncDriver: steps the engine in the caller's thread. While one window is computed, the next one is encoded."""

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

MAX_WAITING_BATCHES = 16  # full batches per worker that wait for the engine before the next window is added
MAX_WAITING_IMAGE_BATCHES = 2  # of windows with images, whose pixels take kilobytes per token
# Items of a window that may contain images; an image in a text may take a hundred megabytes.
MAX_WINDOW_IMAGES, MAX_WINDOW_TEXTS_WITH_IMAGES = 128, 16
FIRST_WINDOW_ITEMS = 64


class SyncDriver:
    """Drives the engine for one call at a time; ``BackgroundEngine`` drives it for concurrent calls."""

    def __init__(self, model: ModelConfig, engine: "Engine", config: EngineConfig) -> None:
        self._model = model
        self._engine = engine
        self._config = config

    def run(self, task: BoundTask, indices: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        """Yield the jobs of the items with the given indices as they end."""
        if len(indices) > FIRST_WINDOW_ITEMS or (
            len(indices) > MAX_WINDOW_TEXTS_WITH_IMAGES and self._may_hold_images(items)
        ):
            yield from self._run_windows(task, indices, items)
            return
        selected = items if len(indices) == len(items) else [items[index] for index in indices]
        ended = self._add(task.encode(indices, selected))
        if ended:
            yield ended
        while self._engine.has_work:
            yield _ended(self._engine.step())

    def _run_windows(self, task: BoundTask, indices: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        shared: dict[Any, Any] = {}

        def encode(window: range) -> list[Job]:
            selected = indices[window.start : window.stop]
            return task.encode(selected, [items[index] for index in selected], shared)

        has_images = self._may_hold_images(items)
        largest = MAX_WINDOW_IMAGES if self._model.multimodal.image_reader is None else MAX_WINDOW_TEXTS_WITH_IMAGES
        total = len(indices)
        first = min(largest, FIRST_WINDOW_ITEMS)
        ranges = windows(total, first=first, largest=largest) if has_images else windows(total)
        max_batches = MAX_WAITING_IMAGE_BATCHES if has_images else MAX_WAITING_BATCHES
        ready = encode(next(ranges, range(0)))
        with ThreadPoolExecutor(1, thread_name_prefix="millpond-render") as pool:

            def encode_next() -> Future[list[Job]] | None:
                window = next(ranges, None)
                return None if window is None else pool.submit(encode, window)

            coming = encode_next()
            yield self._add(ready)
            while coming is not None or self._engine.has_work:
                if coming is not None and (coming.done() or not self._engine.has_work) and self._has_room(max_batches):
                    ready, coming = coming.result(), encode_next()
                    yield self._add(ready)
                    continue
                yield _ended(self._engine.step())

    def _may_hold_images(self, items: Sequence[Item]) -> bool:
        return "image" in self._model.multimodal.modalities and any(may_hold_media(item.data) for item in items)

    def _add(self, jobs: list[Job]) -> list[Job]:
        """Add the sequences of jobs to the engine, longest first; return the jobs that need no computation."""
        waiting = new_sequences(jobs)
        if len(waiting) > 1:
            waiting.sort(key=_num_tokens, reverse=True)
        for sequence in waiting:
            self._engine.add(sequence)
        return [job for job in jobs if job.left == 0]

    def _has_room(self, max_batches: int) -> bool:
        """True if fewer than N full batches per worker are waiting: memory stays bounded."""
        limit = max_batches * self._engine.runner.num_workers * self._config.max_num_batched_tokens
        return self._engine.scheduler.waiting_tokens < limit


def new_sequences(jobs: Sequence[Job]) -> "list[PoolingRequest]":
    """Return the sequences of jobs that must be computed, each once, and record which jobs wait for them."""
    sequences: list[PoolingRequest] = []
    for job in jobs:
        for sequence in job.work.sequences:
            if sequence.is_ready:
                continue
            if sequence.state.owner is None:
                sequence.state.owner = []
                sequences.append(sequence)
            sequence.state.owner.append(job)
            job.left += 1
    return sequences


def _num_tokens(sequence: "PoolingRequest") -> int:
    return sequence.num_tokens


def _ended(sequences: "list[PoolingRequest]") -> list[Job]:
    """Return the jobs whose last sequence is among the ended ones."""
    ended: list[Job] = []
    for sequence in sequences:
        sequence.is_ready = True
        jobs, sequence.state.owner = sequence.state.owner, None
        for job in jobs:
            job.left -= 1
            if job.left == 0:
                ended.append(job)
    return ended
