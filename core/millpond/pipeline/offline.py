"""OfflineTurner: turns the engine in the caller's thread; while prompts are computed, the next ones are tokenised."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from millpond.pipeline.pipeline import Job, Pipeline, windows
from millpond.types.config import EngineConfig
from millpond.types.params import PoolingParams
from millpond.types.prompts import may_hold_media

if TYPE_CHECKING:
    from millpond.engine.engine import Engine
    from millpond.engine.request import PoolingRequest
    from millpond.pipeline.io_processor import IOProcessor

ENOUGH = 16  # full batches for each worker that wait; more need not be tokenised yet
ENOUGH_SEEN = 2  # of images, whose values take kilobytes a token
# Prompts of a window that may hold images: where these stand among texts, each may take a hundred megabytes.
MOST_SEEN, MOST_READ = 128, 16


class OfflineTurner:
    """The offline turner of the loop, as ``EngineThread`` is the online one; one call at a time."""

    def __init__(self, pipeline: Pipeline, engine: "Engine", config: EngineConfig) -> None:
        self._pipeline = pipeline
        self._engine = engine
        self._config = config

    def jobs(
        self, processor: "IOProcessor[Any, Any]", places: Sequence[int], items: Sequence[tuple[object, PoolingParams]]
    ) -> Iterator[Job]:
        """The jobs of some places as they end. While one window of prompts is computed, the next is tokenised."""

        def prepare(window: range) -> list[Job]:
            chosen = places[window.start : window.stop]
            return self._pipeline.prepare(processor, chosen, [items[place] for place in chosen])

        model = self._pipeline.ctx.model
        sees = "image" in model.modalities and any(may_hold_media(item) for item, _ in items)
        most = MOST_SEEN if model.image_reader is None else MOST_READ
        ranges = windows(len(places), first=min(most, 64), largest=most) if sees else windows(len(places))
        enough = ENOUGH_SEEN if sees else ENOUGH
        first = next(ranges, range(0))
        ready = prepare(first)
        if first.stop == len(places):
            yield from self._compute(ready)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="millpond-render") as pool:

            def prepare_next() -> Future[list[Job]] | None:
                window = next(ranges, None)
                return None if window is None else pool.submit(prepare, window)

            coming = prepare_next()
            yield from self._start(ready)
            while coming is not None or self._engine.has_work:
                if coming is not None and (coming.done() or not self._engine.has_work) and self._has_room(enough):
                    ready, coming = coming.result(), prepare_next()
                    yield from self._start(ready)
                    continue
                yield from _ended(self._engine.step())

    def _compute(self, jobs: list[Job]) -> Iterator[Job]:
        yield from self._start(jobs)
        while self._engine.has_work:
            yield from _ended(self._engine.step())

    def _start(self, jobs: list[Job]) -> Iterator[Job]:
        """Let the requests of jobs wait, longest first; the jobs that need no computing have ended."""
        requests = [request for job in jobs for request in job.requests if not request.is_ready]
        for request in sorted(requests, key=lambda request: -request.num_tokens):
            self._engine.add(request)
        yield from (job for job in jobs if all(request.is_ready for request in job.requests))

    def _has_room(self, batches: int) -> bool:
        """Whether less waits than so many batches for each worker: memory stays bounded."""
        most = batches * self._engine.runner.num_workers * self._config.max_num_batched_tokens
        return self._engine.scheduler.waiting_tokens < most


def _ended(requests: "list[PoolingRequest]") -> Iterator[Job]:
    for request in requests:
        job: Job = request.owner
        job.left -= 1
        if job.left == 0:
            yield job
