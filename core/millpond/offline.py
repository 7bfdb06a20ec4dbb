"""OfflineTurner: turns the engine in the caller's thread; while prompts are computed, the next ones are tokenised."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from millpond.config import EngineConfig
from millpond.params import PoolingParams
from millpond.pipeline import Job, Pipeline, windows

if TYPE_CHECKING:
    from millpond.engine.engine import Engine
    from millpond.engine.request import PoolingRequest
    from millpond.io_processor import IOProcessor

ENOUGH = 16  # full batches for each worker that wait; more need not be tokenised yet


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

        ranges = windows(len(places))
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
                if coming is not None and (coming.done() or not self._engine.has_work) and self._has_room():
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

    def _has_room(self) -> bool:
        """Whether so little waits that the next window may be let in: memory stays bounded."""
        enough = ENOUGH * self._engine.runner.num_workers * self._config.max_num_batched_tokens
        return self._engine.scheduler.waiting_tokens < enough


def _ended(requests: "list[PoolingRequest]") -> Iterator[Job]:
    for request in requests:
        job: Job = request.owner
        job.left -= 1
        if job.left == 0:
            yield job
