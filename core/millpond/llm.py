"""LLM: the offline front door. A thin front: the loading, the pipeline and the engine do the work."""

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Never, Self, Unpack

from millpond.loading.arguments import read_arguments, takes_model_args
from millpond.loading.source import find_repository
from millpond.pipeline.call import R, TaskCall
from millpond.pipeline.offline import SyncDriver
from millpond.pipeline.pipeline import Pipeline
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
    """A pooling model, ready to be asked; ``with LLM(...) as llm:`` or ``llm.close()`` ends its workers.

    Calls from several threads take turns.

    Attributes:
        model_config: What is known of the model: ``max_model_len``, ``hf_config``, ``pooler_config``, ``tasks``.
    """

    @takes_model_args
    def __init__(self, model: str, *, plugins: "PluginManager | None" = None, **arguments: Unpack[ModelArgs]) -> None:
        """Load a model.

        Args:
            model: A folder, a hub id (``org/name``), or ``scheme:name`` to ask one source.
            plugins: The plugins to use; by default all that are installed.
            **arguments: The options of ``ModelArgs``; vLLM's are taken too: those with a meaning here have an effect,
                the rest are accepted and logged.

        Raises:
            ModelNotFoundError: If no source has the model.
            CheckpointError: If its files are damaged or contradict each other.
            UnknownNameError: If nothing serves its architecture.
            InvalidInputError: If an argument does not fit.
        """
        options = read_arguments(arguments)
        plugins = plugins or get_plugin_manager()
        repository = find_repository(plugins.registry, model, options.source)  # a name mistyped is told of at once
        from millpond.engine.engine import Engine  # noqa: PLC0415  needs torch
        from millpond.engine.runner import Runner  # noqa: PLC0415
        from millpond.loading.build import load_model  # noqa: PLC0415

        self._loaded = load_model(repository, options, plugins)
        self.engine_config: EngineConfig = self._loaded.engine
        self.pipeline = Pipeline(self._loaded.context, dedupe=options.dedupe)
        self._engine = Engine(
            Runner(self._loaded.model, device=self._loaded.context.device, num_workers=self.engine_config.num_workers),
            self.engine_config,
        )
        self._driver = SyncDriver(self.model_config, self._engine, self.engine_config)
        self._lock = threading.Lock()

    @property
    def pooling_task(self) -> str | None:
        """The task that ``encode`` takes when none is named; None if it must be named."""
        return self.model_config.pooler_config.task

    @property
    def llm_engine(self) -> Self:
        """The object with ``model_config``, where vLLM has it."""
        return self

    @property
    def vllm_config(self) -> Self:
        """The object with ``model_config``, where vLLM's code reads it: ``llm.llm_engine.vllm_config``."""
        return self

    def get_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's tokenizer, as transformers has it."""
        from transformers import AutoTokenizer

        folder = str(self._loaded.resolution.repository.transformer_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer

    def close(self) -> None:
        """End the workers, once the calls of other threads are done. The model cannot be asked afterwards."""
        with self._lock:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, call: TaskCall[R], use_tqdm: Progress, shape: Shape | None = None) -> Any:
        task, items = self.pipeline.items(call)
        places = task.places(items)
        outputs: list[Any] = [None] * len(items)
        with self._lock, _progress(use_tqdm, len(items)) as bar:
            try:
                for jobs in self._driver.run(task, list(places), items):
                    finished = task.finish(jobs, places) if jobs else ()
                    for place, output in finished:
                        if output.error is not None and call.raises:
                            raise output.error
                        outputs[place] = output
                    if bar is not None:
                        bar.update(len(finished))
            finally:
                self._engine.abort()
        answers = task.answers(call, items, outputs)
        return answers if shape is None else shape(answers)


def _progress(use_tqdm: Progress, total: int) -> AbstractContextManager[Any]:
    if not use_tqdm:
        return nullcontext()
    from tqdm import tqdm  # noqa: PLC0415  only for who wants to see it

    make = tqdm if use_tqdm is True else use_tqdm
    patience: dict[str, Any] = {"delay": 1.0} if use_tqdm is True else {}  # short work shows nothing
    bar: AbstractContextManager[Any] = make(total=total, desc="Processed prompts", dynamic_ncols=True, **patience)
    return bar
