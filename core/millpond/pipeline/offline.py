"""SyncDriver: steps the engine in the caller's thread. While one window is computed, the next one is encoded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from millpond.model.spec import ResolvedModel
from millpond.pipeline.bound_task import BoundTask, Item, new_sequences
from millpond.pipeline.io_processor import Job
from millpond.pipeline.pipeline import windows
from millpond.pipeline.shared_prefix import PrefixFinder
from millpond.types.config import EngineConfig
from millpond.types.prompts import may_hold_media

if TYPE_CHECKING:
    from millpond.engine.engine import Engine
    from millpond.engine.request import PoolingRequest
    from millpond.pipeline.cache import ResultCache

MAX_WAITING_BATCHES = 16  # full batches per worker that wait for the engine before the next window is added
MAX_WAITING_IMAGE_BATCHES = 2  # of windows with images, whose pixels take kilobytes per token
# Items of a window that may contain images; an image in a text may take a hundred megabytes.
MAX_WINDOW_IMAGES, MAX_WINDOW_TEXTS_WITH_IMAGES = 128, 16
FIRST_WINDOW_ITEMS = 64


class SyncDriver:
    """Drives the engine for one call at a time; ``BackgroundEngine`` drives it for concurrent calls."""

    def __init__(
        self, model: ResolvedModel, engine: "Engine", config: EngineConfig, cache: "ResultCache | None" = None
    ) -> None:
        self._model = model
        self._engine = engine
        self._config = config
        self._cache = cache

    def run(self, task: BoundTask, indices: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        """Yield the jobs of the items with the given indices as they end."""
        if len(indices) > FIRST_WINDOW_ITEMS or (
            len(indices) > MAX_WINDOW_TEXTS_WITH_IMAGES and self._may_hold_images(items)
        ):
            yield from self._run_windows(task, indices, items)
            return
        selected = items if len(indices) == len(items) else [items[index] for index in indices]
        ended = self._add(self._encode(task, indices, selected))
        if ended:
            yield ended
        while self._engine.num_unfinished:
            yield self._step()

    def _run_windows(self, task: BoundTask, indices: Sequence[int], items: Sequence[Item]) -> Iterator[list[Job]]:
        shared: dict[Any, Any] = {}
        prefixes = self._prefix_finder()

        def encode(window: range) -> list[Job]:
            selected = indices[window.start : window.stop]
            return self._encode(task, selected, [items[index] for index in selected], shared)

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
            yield self._add(ready, prefixes)
            while coming is not None or self._engine.num_unfinished:
                if (
                    coming is not None
                    and (coming.done() or not self._engine.num_unfinished)
                    and self._has_room(max_batches)
                ):
                    ready, coming = coming.result(), encode_next()
                    yield self._add(ready, prefixes)
                    continue
                yield self._step()

    def _encode(
        self,
        task: BoundTask,
        indices: Sequence[int],
        items: Sequence[Item],
        shared: dict[Any, Any] | None = None,
    ) -> list[Job]:
        """Encode items, and read the results of their sequences that the cache has."""
        jobs = task.encode(indices, items, shared)
        if self._cache is not None:
            self._cache.look_up(jobs)
        return jobs

    def _step(self) -> list[Job]:
        """Step the engine; return the jobs that ended."""
        sequences = self._engine.step()
        if self._cache is not None:
            self._cache.store(sequences)
        return _ended(sequences)

    def _may_hold_images(self, items: Sequence[Item]) -> bool:
        return "image" in self._model.multimodal.modalities and any(may_hold_media(data) for data, _ in items)

    def _add(self, jobs: list[Job], prefixes: PrefixFinder | None = None) -> list[Job]:
        """Add the sequences of jobs to the engine, longest first; return the jobs that need no computation.

        Args:
            jobs: The jobs.
            prefixes: The finder of the call, if it has several windows.
        """
        waiting = new_sequences(jobs)
        if prefixes is not None or len(waiting) > 1:
            (prefixes or self._prefix_finder()).mark(waiting)
        if len(waiting) > 1:
            waiting.sort(key=_num_tokens, reverse=True)
        for sequence in waiting:
            self._engine.add(sequence)
        return [job for job in jobs if job.left == 0]

    def _prefix_finder(self) -> PrefixFinder:
        return PrefixFinder(enabled=self._config.enable_prefix_caching)

    def _has_room(self, max_batches: int) -> bool:
        """True if fewer than N full batches per worker are waiting: memory stays bounded."""
        scheduler = self._engine.scheduler
        limit = max_batches * self._engine.runner.num_workers * scheduler.max_num_batched_tokens
        return scheduler.waiting_tokens < limit


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
