"""AsyncLLM: the online API: the pipeline and engine of ``LLM`` for asyncio."""

import asyncio
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from millpond.base_llm import CHUNKS_ARGUMENTS, EMBED_ARGUMENTS, BaseLLM
from millpond.executor import open_executor
from millpond.llm import LLM
from millpond.loading.arguments import read_arguments, takes_model_args
from millpond.pipeline.bound_task import BoundTask, Items, new_sequences
from millpond.pipeline.cache import bypass_cache, cache_owner
from millpond.pipeline.call import EmbedOptions, Options, requested, single_params
from millpond.pipeline.call_stats import CallStats, current_stats
from millpond.pipeline.io_processor import Job
from millpond.pipeline.pipeline import load_pipeline
from millpond.pipeline.preprocessing import PreprocessingPool, is_short
from millpond.pipeline.shared_prefix import PrefixFinder
from millpond.pipeline.tokenization import Params
from millpond.plugin.manager import get_plugin_manager
from millpond.types.arrays import Form, stacked
from millpond.types.errors import EngineClosedError, located
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
from millpond.types.params import PoolingParams
from millpond.types.prompts import ChunksCall, ScoreCall

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.engine.background import BackgroundEngine
    from millpond.engine.request import PoolingRequest
    from millpond.pipeline.cache import ResultCache
    from millpond.pipeline.preprocessing import RunningWork
    from millpond.plugin.manager import PluginManager

F = TypeVar("F", bound=Callable[..., Any])
MAX_PROMPTS_DECODED_INLINE = 16  # if the processor is quick, decoding these takes less time than a thread switch


def documented_by(method: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that copies the docstring of a method of ``LLM``."""

    def decorate(function: F) -> F:
        function.__doc__ = method.__doc__
        return function

    return decorate


class AsyncLLM(BaseLLM):
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
        super().__init__()
        plugins = plugins or get_plugin_manager()
        options = read_arguments(arguments, plugins.registry)
        self._loaded, self.pipeline, self.cache = load_pipeline(model, options, plugins)
        from millpond.engine.background import BackgroundEngine  # noqa: PLC0415  needs torch

        self._open_executor = partial(open_executor, self._loaded, options, plugins)
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
        successor = type(self.engine)(self._open_executor(), self._loaded.engine)
        successor.take_over(self.engine)
        self._finalizer.detach()
        self._use(successor)
        self._preprocessing.close()  # no effect if the last failed call closed it
        self._preprocessing = PreprocessingPool()

    @overload
    async def embed(
        self, prompts: object, *, priority: int = 0, output: Literal["objects"] = ..., **options: Unpack[EmbedOptions]
    ) -> list[EmbeddingRequestOutput]: ...

    @overload
    async def embed(
        self, prompts: object, *, priority: int = 0, output: Literal["array"], **options: Unpack[EmbedOptions]
    ) -> "NDArray[np.float32]": ...

    @documented_by(LLM.embed)
    async def embed(
        self,
        prompts: object,
        *,
        dimensions: int | None = None,
        output: Form = "objects",
        pooling_params: Params = None,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> "list[EmbeddingRequestOutput] | NDArray[np.float32]":
        """See ``LLM.embed``."""
        task, params = self._embedding_task(pooling_params, dimensions, output)
        outputs = await self._run(task, prompts, params, options, priority, arguments=EMBED_ARGUMENTS)
        if output == "objects":
            return outputs
        return stacked(outputs, dimensions or self.model_config.embedding_size or 0)

    @documented_by(LLM.embed_sparse)
    async def embed_sparse(
        self,
        prompts: object,
        *,
        return_tokens: bool = False,
        max_active_dims: int | None = None,
        pooling_params: Params = None,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> list[SparseEmbeddingRequestOutput]:
        """See ``LLM.embed_sparse``."""
        task_options = {"return_tokens": return_tokens or None, "max_active_dims": max_active_dims}
        return await self._run("embed_sparse", prompts, pooling_params, {**options, **task_options}, priority)

    @documented_by(LLM.embed_chunks)
    async def embed_chunks(
        self,
        texts: object,
        *,
        spans: object = None,
        chunk_tokens: int | None = None,
        overlap: int = 0,
        method: str = "late",
        pooling_params: Params = None,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> list[ChunksRequestOutput]:
        """See ``LLM.embed_chunks``."""
        call = ChunksCall(texts, spans, chunk_tokens, overlap, method)
        return await self._run("embed_chunks", call, pooling_params, options, priority, arguments=CHUNKS_ARGUMENTS)

    @documented_by(LLM.classify)
    async def classify(
        self, prompts: object, *, pooling_params: Params = None, priority: int = 0, **options: Unpack[Options]
    ) -> list[ClassificationRequestOutput]:
        """See ``LLM.classify``."""
        return await self._run("classify", prompts, pooling_params, options, priority)

    @documented_by(LLM.reward)
    async def reward(
        self, prompts: object, /, *, pooling_params: Params = None, priority: int = 0, **options: Unpack[Options]
    ) -> list[PoolingRequestOutput[Any]]:
        """See ``LLM.reward``."""
        return await self._run("token_classify", prompts, pooling_params, options, priority, plain=True)

    @documented_by(LLM.score)
    async def score(
        self,
        data_1: object,
        data_2: object,
        /,
        *,
        pooling_params: PoolingParams | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, object] | None = None,
        instruction: str | None = None,
        max_tokens_per_query: int | None = None,
        max_tokens_per_doc: int | None = None,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> list[ScoringRequestOutput]:
        """See ``LLM.score``."""
        task_options = {
            "chat_template": chat_template,
            "chat_template_kwargs": chat_template_kwargs,
            "instruction": instruction,
            "max_tokens_per_query": max_tokens_per_query,
            "max_tokens_per_doc": max_tokens_per_doc,
        }
        pairs, params = ScoreCall(data_1, data_2), single_params(pooling_params)
        return await self._run("score", pairs, params, {**options, **task_options}, priority)

    @documented_by(LLM.represent)
    async def represent(
        self,
        prompts: object,
        representations: Sequence[Mapping[str, object]],
        *,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> list[RepresentationsRequestOutput]:
        """See ``LLM.represent``."""
        return await self._run("represent", prompts, None, {**options, **requested(representations)}, priority)

    @documented_by(LLM.encode)
    async def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        pooling_task: str | None = None,
        priority: int = 0,
        **options: Unpack[Options],
    ) -> list[PoolingRequestOutput[Any]]:
        """See ``LLM.encode``."""
        return await self._run(pooling_task, prompts, pooling_params, options, priority, plain=True)

    async def close(self, *, finish: bool = True) -> None:
        """Stop the engine.

        Args:
            finish: True to compute waiting requests first; otherwise they end in EngineClosedError.
        """
        if self._is_fork():
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

    async def _run_task(
        self, task: str, prompts: object, *, pooling_params: Params = None, priority: int = 0, **options: Any
    ) -> list[Any]:
        return await self._run(task, prompts, pooling_params, options, priority)

    async def _run(
        self,
        name: str | None,
        prompts: object,
        params: Params,
        options: Mapping[str, object],
        priority: int,
        *,
        arguments: tuple[str, ...] = (),
        plain: bool = False,
    ) -> list[Any]:
        with self._counted():
            stats, began = current_stats.get() or CallStats(), perf_counter()
            task, items, raises = self._read(name, prompts, params, options, arguments)
            groups = task.groups(items)
            jobs = await self._encode(task, list(groups), [items[index] for index in groups])
            if self.cache is not None and not bypass_cache.get():
                await self._look_up(self.cache, jobs, stats)
            stats.add_stage("tokenise", began, perf_counter())
            stats.duplicates += len(items) - len(groups)
            if raises:
                for job in jobs:
                    if job.error is not None:
                        raise located(job.error, job.index)
            await self._compute(new_sequences(jobs), priority, stats)
            began = perf_counter()

            def finish() -> list[Any]:
                if self.cache is not None:
                    self.cache.store(sequence for job in jobs for sequence in job.sequences)
                outputs: list[Any] = [None] * len(items)
                for index, output in task.finish(jobs, groups, plain=plain):
                    outputs[index] = output
                for output in outputs if raises else ():
                    if output.error is not None:
                        raise output.error
                return task.numbered(items, outputs)

            is_quick = task.processor.quick and len(items) <= MAX_PROMPTS_DECODED_INLINE
            outputs = finish() if is_quick else await self._preprocessing.run(finish)
            stats.count(outputs)
            stats.add_stage("finish", began, perf_counter())
            return outputs

    async def _encode(self, task: BoundTask, indices: Sequence[int], items: Items) -> list[Job]:
        """Encode items on a thread, or here if this is the only call and two thread switches would take as long."""
        if task.processor.quick_encode and self._num_calls == 1 and is_short(items):
            return task.encode(indices, items)
        return await self._preprocessing.encode(task, indices, items)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a call while it runs; the last call of a closed engine stops the threads.

        Raises:
            EngineClosedError: If the engine is closed, or this process is a fork of the one that loaded the model.
        """
        self._check_process()
        if not self.engine.is_alive:
            message = "the engine is closed: load the model again"
            raise EngineClosedError(message)
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls and not self.engine.is_alive:
                self._preprocessing.close()

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
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        left = [True] * len(requests)

        def on_done(_: "PoolingRequest") -> None:
            left.pop()  # on the thread of the engine, or of a monitor
            if not left:
                with suppress(RuntimeError):  # the caller's loop is closed
                    loop.call_soon_threadsafe(ended.set)

        for request in requests:
            request.state.priority = priority
            request.state.on_done = on_done
        if len(requests) > 1:
            PrefixFinder(enabled=self._loaded.engine.enable_prefix_caching).mark(requests)
        self.engine.submit(requests)
        try:
            await ended.wait()
            started = max(_first_start(requests) or began, began)
            stats.add_stage("queue", began, started)
            stats.add_stage("compute", started, perf_counter())
        except asyncio.CancelledError:
            self.engine.cancel(requests)
            raise


def _first_start(requests: "Iterable[PoolingRequest]") -> float:
    """Return the start of the first batch of a call's requests, by ``time.perf_counter``; 0.0 if none started."""
    first = 0.0
    for request in requests:
        started = request.state.started
        if started and (not first or started < first):
            first = started
    return first
