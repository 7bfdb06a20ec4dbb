"""LLM: the offline API, a thin layer over loading, pipeline and engine."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack

from millpond.executor import open_executor
from millpond.loading.arguments import read_arguments, takes_model_args
from millpond.pipeline.call import R, TaskCall
from millpond.pipeline.offline import SyncDriver
from millpond.pipeline.owner_process import OwnerProcess
from millpond.pipeline.pipeline import load_pipeline
from millpond.plugin.manager import get_plugin_manager
from millpond.task_methods import Progress, Shape, TaskMethods
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
    import numpy as np  # noqa: F401  in the type of arrays
    from numpy.typing import NDArray  # noqa: F401
    from transformers import PreTrainedTokenizerBase

    from millpond.plugin.manager import PluginManager
    from millpond.types.config import EngineConfig


class LLM(
    TaskMethods[
        Progress,
        Never,
        list[EmbeddingRequestOutput],
        "NDArray[np.float32]",
        list[SparseEmbeddingRequestOutput],
        list[ChunksRequestOutput],
        list[ClassificationRequestOutput],
        list[ScoringRequestOutput],
        list[RepresentationsRequestOutput],
        list[PoolingRequestOutput[Any]],
    ]
):
    """A loaded pooling model; ``with LLM(...) as llm:`` or ``llm.close()`` stops its workers.

    Calls from several threads run one after another.

    Attributes:
        model_config: The facts about the model: ``max_model_len``, ``hf_config``, ``pooler_config``, ``tasks``.
        cache: The cache of results, with the numbers of its ``hits`` and ``misses``; None without one.
    """

    @takes_model_args
    def __init__(self, model: str, *, plugins: "PluginManager | None" = None, **arguments: Unpack[ModelArgs]) -> None:
        """Load a model.

        Args:
            model: A folder, a hub id (``org/name``), ``scheme:name`` to use only one source, or a model file (.toml).
            plugins: The plugins to use; by default all installed ones.
            **arguments: The options of ``ModelArgs``. vLLM's arguments are accepted too; those without a meaning here
                are logged and ignored.

        Raises:
            ModelNotFoundError: If no source has the model.
            CheckpointError: If its files are damaged or contradict each other.
            UnknownNameError: If no plugin provides its architecture.
            InvalidInputError: If an argument is invalid.
        """
        plugins = plugins or get_plugin_manager()
        options = read_arguments(arguments, plugins.registry)
        self._loaded, self.pipeline, self.cache = load_pipeline(model, options, plugins)
        from millpond.engine.engine import Engine  # noqa: PLC0415  needs torch

        self.engine_config: EngineConfig = self._loaded.engine
        executor = open_executor(self._loaded, options, plugins)
        self._engine = Engine(executor, self.engine_config)
        self._driver = SyncDriver(self._loaded.config, self._engine, self.engine_config, self.cache)
        self._lock = threading.Lock()
        self._owner = OwnerProcess()

    @property
    def pooling_task(self) -> str | None:
        """The default task of ``encode``; None if calls must name the task."""
        return self.model_config.pooler_config.task

    @property
    def llm_engine(self) -> Self:
        """The object with ``model_config``, at the same place as in vLLM."""
        return self

    @property
    def vllm_config(self) -> Self:
        """The object with ``model_config``, at the same place as in vLLM: ``llm.llm_engine.vllm_config``."""
        return self

    def get_tokenizer(self) -> "PreTrainedTokenizerBase":
        """Return the model's tokenizer as a transformers object."""
        from transformers import AutoTokenizer

        folder = str(self._loaded.layers.repository.transformer_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer

    def close(self) -> None:
        """Stop the workers after the calls of other threads. Later calls raise EngineClosedError."""
        if not self._owner.is_current:
            return  # the workers belong to the process that this one is a fork of
        with self._lock:
            self._engine.close()
            if self.cache is not None:
                self.cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dispatch(self, call: TaskCall[R], use_tqdm: Progress, shape: Shape | None = None) -> Any:
        self._owner.check()
        task, items = self._items(call)
        groups = task.groups(items)
        outputs: list[Any] = [None] * len(items)
        with self._lock, _progress_bar(use_tqdm, len(items)) if use_tqdm else nullcontext() as bar:
            try:
                for jobs in self._driver.run(task, list(groups), items):
                    finished = task.finish(jobs, groups) if jobs else ()
                    for index, output in finished:
                        if output.error is not None and call.raises:
                            raise output.error
                        outputs[index] = output
                    if bar is not None:
                        bar.update(len(finished))
            finally:
                if self._engine.has_work:  # after an error
                    self._engine.abort()
        results = task.results(call, items, outputs)
        return results if shape is None else shape(results)


def _progress_bar(use_tqdm: Literal[True] | Callable[..., Any], total: int) -> AbstractContextManager[Any]:
    from tqdm import tqdm  # noqa: PLC0415  only needed for calls with a progress bar

    make_bar = tqdm if use_tqdm is True else use_tqdm
    delay: dict[str, Any] = {"delay": 1.0} if use_tqdm is True else {}  # short calls show no bar
    bar: AbstractContextManager[Any] = make_bar(total=total, desc="Processed prompts", dynamic_ncols=True, **delay)
    return bar
