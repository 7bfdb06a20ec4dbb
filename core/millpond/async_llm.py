"""AsyncLLM: the online API: the pipeline and engine of ``LLM`` for asyncio."""

import asyncio
import inspect
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Never, Self, Unpack

from millpond.executor import open_executor
from millpond.loading.arguments import read_arguments, takes_model_args
from millpond.pipeline.bound_task import BoundTask, Job, new_sequences
from millpond.pipeline.cache import bypass_cache, cache_owner
from millpond.pipeline.call import R, TaskCall
from millpond.pipeline.call_stats import CallStats, current_stats
from millpond.pipeline.io_processor import Item
from millpond.pipeline.owner_process import OwnerProcess
from millpond.pipeline.pipeline import load_pipeline
from millpond.pipeline.preprocessing import PreprocessingPool
from millpond.pipeline.shared_prefix import PrefixFinder
from millpond.plugin.manager import get_plugin_manager
from millpond.task_methods import Shape, TaskMethods
from millpond.types.errors import EngineClosedError
from millpond.types.model_args import ModelArgs
from millpond.types.outputs import (
    ChunksRequestOutput,
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    PoolingRequestOutput,
    RepresentationsRequestOutput,
    ScoringRequestOutput,
    SparseEmbeddingRequestOutput,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.engine.background import BackgroundEngine
    from millpond.engine.request import PoolingRequest
    from millpond.pipeline.cache import ResultCache
    from millpond.pipeline.preprocessing import RunningWork
    from millpond.plugin.manager import PluginManager

MAX_PROMPTS_DECODED_INLINE = 16  # if the processor is quick, decoding these takes less time than a thread switch


@dataclass(eq=False)
class Countdown:
    """The number of requests of a call that have not ended; ``ended`` is resolved on the caller's event loop."""

    left: int
    ended: "asyncio.Future[None]"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count_down(self, _: "PoolingRequest") -> None:
        """Count the end of a request; any thread may call it."""
        with self.lock:
            self.left -= 1
            left = self.left
        if left == 0:
            with suppress(RuntimeError):  # the caller's loop is closed
                self.ended.get_loop().call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def awaited(method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return the coroutine function for a method of ``TaskMethods``: without a progress bar, with a priority."""

    @wraps(method)
    async def run(self: "AsyncLLM", *args: Any, priority: int = 0, **arguments: Any) -> Any:
        if "use_tqdm" in arguments:
            raise TypeError(f"AsyncLLM.{method.__name__}() got an unexpected keyword argument 'use_tqdm'")
        call, shape = method(self, *args, **arguments)
        outputs = await self._run_call(call, priority)
        return outputs if shape is None else shape(outputs)

    signature = inspect.signature(method)
    *parameters, options = (it for name, it in signature.parameters.items() if name != "use_tqdm")
    priority = inspect.Parameter("priority", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=int)
    run.__signature__ = signature.replace(parameters=[*parameters, priority, options])  # type: ignore[attr-defined]
    return run


class AsyncLLM(
    TaskMethods[
        Never,
        int,
        Coroutine[Any, Any, list[EmbeddingRequestOutput]],
        Coroutine[Any, Any, "NDArray[np.float32]"],
        Coroutine[Any, Any, list[SparseEmbeddingRequestOutput]],
        Coroutine[Any, Any, list[ChunksRequestOutput]],
        Coroutine[Any, Any, list[ClassificationRequestOutput]],
        Coroutine[Any, Any, list[ScoringRequestOutput]],
        Coroutine[Any, Any, list[RepresentationsRequestOutput]],
        Coroutine[Any, Any, list[PoolingRequestOutput[Any]]],
    ]
):
    """A loaded pooling model for asyncio; concurrent calls share batches.

    Cancelling a call drops its sequences that are not running yet. An object that is no longer used ends its threads.

    Attributes:
        cache: The cache of results, as for ``LLM``.
    """

    @takes_model_args
    def __init__(self, model: str, *, plugins: "PluginManager | None" = None, **arguments: Unpack[ModelArgs]) -> None:
        """Load a model.

        Args:
            model: As for ``LLM``.
            plugins: As for ``LLM``.
            **arguments: As for ``LLM``.
        """
        plugins = plugins or get_plugin_manager()
        options = read_arguments(arguments, plugins.registry)
        self._loaded, self.pipeline, self.cache = load_pipeline(model, options, plugins)
        from millpond.engine.background import BackgroundEngine  # noqa: PLC0415  needs torch

        self._open_executor = partial(open_executor, self._loaded, options, plugins)
        self._owner = OwnerProcess()
        self._use(BackgroundEngine(self._open_executor(), self._loaded.engine))
        self._preprocessing = PreprocessingPool()
        self._num_calls = 0  # calls that are running

    @property
    def preparing(self) -> "list[RunningWork]":
        """The running work of the threads that encode prompts and decode results, each with its start time."""
        return self._preprocessing.running()

    def restart(self) -> None:
        """Start a new engine after the engine crashed; the model stays loaded.

        Raises:
            EngineClosedError: If the engine did not crash: a model that was closed stays closed.
        """
        if not self.engine.crash_reason:
            message = "the engine did not crash: only a crashed engine can be restarted"
            raise EngineClosedError(message)
        successor = type(self.engine)(self._open_executor(), self._loaded.engine, self.engine.failing_inputs)
        successor.max_wait_s = self.engine.max_wait_s
        self._finalizer.detach()
        self._use(successor)
        self._preprocessing.close()  # no effect if the last failed call closed it
        self._preprocessing = PreprocessingPool()

    async def close(self, *, finish: bool = True) -> None:
        """Stop the engine.

        Args:
            finish: True to compute waiting requests first; otherwise they end in EngineClosedError.
        """
        if not self._owner.is_current:
            return  # the threads belong to the process that this one is a fork of
        await asyncio.to_thread(self.engine.close, finish=finish)
        if not self._num_calls:  # otherwise the last call closes it: its results are not decoded yet
            self._preprocessing.close()
        if self.cache is not None:
            await asyncio.to_thread(self.cache.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _use(self, engine: "BackgroundEngine") -> None:
        self.engine = engine
        # The engine's thread refers to the engine, not to this object.
        self._finalizer = weakref.finalize(self, engine.request_close)
        self._finalizer.atexit = False

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return awaited(method)

    def _dispatch(self, call: TaskCall[Any], use_tqdm: Any, shape: Shape | None = None) -> Any:  # noqa: ARG002
        """Return the call to ``awaited``, which runs it."""
        return call, shape

    async def _run_call(self, call: TaskCall[R], priority: int) -> list[R]:
        self._owner.check()
        if not self.engine.is_alive:
            message = "the engine is closed: load the model again"
            raise EngineClosedError(message)
        self._num_calls += 1
        try:
            return await self._run(call, priority)
        finally:
            self._num_calls -= 1
            if not self._num_calls and not self.engine.is_alive:
                self._preprocessing.close()

    async def _run(self, call: TaskCall[R], priority: int) -> list[R]:
        stats, began = current_stats.get() or CallStats(), perf_counter()
        task, items = self._items(call)
        groups = task.groups(items)
        jobs = await self._preprocessing.encode(task, list(groups), [items[index] for index in groups])
        if self.cache is not None and not bypass_cache.get():
            await self._look_up(self.cache, jobs, stats)
        stats.add_stage("tokenise", began, perf_counter())
        stats.duplicates += len(items) - len(groups)
        error = next((job.error for job in jobs if job.work.error is not None), None)
        if error is not None and call.raises:
            raise error
        await self._compute(new_sequences(jobs), priority, stats)
        began = perf_counter()
        finish = partial(self._finish, call, task, items, jobs, groups)
        is_quick = task.is_quick and len(items) <= MAX_PROMPTS_DECODED_INLINE
        outputs, results = finish() if is_quick else await self._preprocessing.run(finish)
        stats.count(outputs)
        stats.add_stage("finish", began, perf_counter())
        return results

    async def _look_up(self, cache: "ResultCache", jobs: list[Job], stats: CallStats) -> None:
        """Read the results of the sequences of jobs that the cache has."""
        look_up = partial(cache.look_up, jobs, cache_owner.get())
        is_quick = cache.quick and len(jobs) <= MAX_PROMPTS_DECODED_INLINE
        hits, misses = look_up() if is_quick else await self._preprocessing.run(look_up)
        stats.cache_hits += hits
        stats.cache_misses += misses

    async def _compute(self, requests: "list[PoolingRequest]", priority: int, stats: CallStats) -> None:
        if not requests:
            return
        began = perf_counter()
        call = Countdown(len(requests), asyncio.get_running_loop().create_future())
        for request in requests:
            request.state.priority = priority
            request.state.on_done = call.count_down
        if len(requests) > 1:
            PrefixFinder(enabled=self._loaded.engine.enable_prefix_caching).mark(requests)
        self.engine.submit(requests)
        try:
            await call.ended
            first = min((request.state.started for request in requests if request.state.started), default=began)
            started = max(first, began)
            stats.add_stage("queue", began, started)
            stats.add_stage("compute", started, perf_counter())
        except asyncio.CancelledError:
            self.engine.cancel(requests)
            raise

    def _finish(
        self,
        call: TaskCall[R],
        task: BoundTask,
        items: Sequence[Item],
        jobs: list[Job],
        groups: Mapping[int, Sequence[int]],
    ) -> tuple[list[PoolingRequestOutput[Any]], list[R]]:
        """Return the outputs of ended jobs in the order of the items, and the result of the call."""
        if self.cache is not None:
            self.cache.store(sequence for job in jobs for sequence in job.work.sequences)
        outputs = [output for _, output in sorted(task.finish(jobs, groups), key=itemgetter(0))]
        error = next((output.error for output in outputs if output.error is not None), None)
        if error is not None and call.raises:
            raise error
        return outputs, task.results(call, items, outputs)


for _name, _method in vars(TaskMethods).items():
    if inspect.isfunction(_method) and not _name.startswith("_"):
        setattr(AsyncLLM, _name, awaited(_method))
