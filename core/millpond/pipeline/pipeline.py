"""Pipeline: the tasks of a loaded model, each bound to its IO processor. It uses neither threads nor asyncio."""

from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from millpond.context import Context
from millpond.model.source import find_repository
from millpond.pipeline.bound_task import PLUGIN, BoundTask
from millpond.pipeline.cache import ResultCache, read_cache_setting
from millpond.pipeline.io_processor import IOProcessor
from millpond.pipeline.tokenization import Params
from millpond.plugin.blame import blamed
from millpond.types.errors import ComponentError, InvalidInputError, UnknownNameError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.loading.arguments import Arguments
    from millpond.loading.build import LoadedModel
    from millpond.plugin.manager import PluginManager
    from millpond.plugin.specs import TaskSpec

EMBED, TOKEN_EMBED = "embed", "token_embed"
TASK_GROUPS = {"encode": ("token_embed", "token_classify"), "reward": ("token_classify", "token_embed")}
"""vLLM's names of several tasks: the first that the model serves is used."""
TASK_REQUIRED = (
    "pooling_task required for `LLM.encode`.\n"
    'Use `LLM.embed(...)` or `pooling_task="embed"` for embeddings, `LLM.classify(...)` or `pooling_task="classify"` '
    "for class probabilities, `LLM.score(...)` for similarity scores, `LLM.reward(...)` or "
    '`pooling_task="token_classify"` for rewards, `pooling_task="token_embed"` for multi-vector retrieval, '
    '`pooling_task="plugin"` for IO processor plugins. This model serves: {tasks}.'
)
CONVERTIBLE = {
    "embed": ("Embedding", "embed"),
    "token_embed": ("Embedding", "embed"),
    "classify": ("Classification", "classify"),
    "token_classify": ("Classification", "classify"),
}
COMBINED_TASK = "embed&token_classify"  # vLLM's name for both tasks requested by a plugin at once
PLUGINS_ONLY = (
    f"The {COMBINED_TASK!r} pooling task is only available through an IO processor plugin. Send a plugin request with "
    "a 'data' field, or select a concrete task with --pooler-config.task."
)


class Pipeline:
    """The tasks of a loaded model: converts prompts to requests for the engine, and results to outputs.

    Attributes:
        bound: The tasks that were called, by name.
    """

    def __init__(self, ctx: Context, *, deduplicate: bool = True) -> None:
        self.ctx = ctx
        self.deduplicate = deduplicate
        self.bound: dict[str, BoundTask] = {}
        self._ids = count()
        # Report an invalid template, or invalid options of images, now instead of at each call.
        if ctx.inputs.chat_template is not None or ctx.inputs.mm_processor_kwargs:
            for task in self.tasks:
                self.bind(task)

    def bind(self, task: str | None) -> BoundTask:
        """Return a task that the model serves, bound to the model.

        Raises:
            InvalidInputError: If the model does not serve the task.
        """
        bound = self.bound.get(task) if isinstance(task, str) else None
        if bound is not None:
            return bound
        if task is None:
            raise InvalidInputError(TASK_REQUIRED.format(tasks=", ".join(self.tasks)), parameter="pooling_task")
        # The derived tasks, whose IO processors must be loaded, are checked only if no pooler serves the task.
        if not isinstance(task, str) or (task not in self._pooled and task not in self.tasks):
            raise InvalidInputError(self.refusal(task), parameter="pooling_task")
        processor: IOProcessor[Any] = self.ctx.io_processor(self._processor_name(task), task=task)
        # If two threads build it at the same time, both use the first.
        return self.bound.setdefault(task, BoundTask(task, processor, self._ids, deduplicate=self.deduplicate))

    def processor(self, task: str | None) -> IOProcessor[Any]:
        """Return the IO processor of a task that the model serves.

        Raises:
            InvalidInputError: If the model does not serve the task.
        """
        return self.bind(task).processor

    def task_of(self, task: str | None, params: Params) -> BoundTask:
        """Return the task of a call: from its argument, its parameters, or the configuration.

        Raises:
            InvalidInputError: If the model does not serve it, or if none of these names a task.
        """
        if task is None and isinstance(params, PoolingParams):
            task = params.task
        if isinstance(task, str) and task in TASK_GROUPS:
            task = present_name(task, self.tasks)
        task = task or self.ctx.pooler_config.task
        return self.bind(PLUGIN if task is None and self.tasks == (PLUGIN,) else task)

    def embedding_task(self, params: Params) -> str:
        """Return the task of a call of ``LLM.embed``.

        It is "token_embed" if the pooler config names that task, or if the model has only token vectors, like ColBERT;
        parameters with the task "embed" always request one vector per prompt.
        """
        return EMBED if isinstance(params, PoolingParams) and params.task == EMBED else self._embedding_task

    def task_with_method(self, name: str) -> "TaskSpec | None":
        """Return the record of the task with this method name; None if no task has it."""
        specs = (entry.spec for entry in self.ctx.registry.tasks.entries())
        return next((spec for spec in specs if spec.method == name), None)

    @cached_property
    def _embedding_task(self) -> str:
        """The task of a call of ``LLM.embed`` whose parameters name none."""
        has_only_tokens = EMBED not in self._pooled and TOKEN_EMBED in self._pooled
        return TOKEN_EMBED if has_only_tokens or self.ctx.pooler_config.task == TOKEN_EMBED else EMBED

    @cached_property
    def _pooled(self) -> tuple[str, ...]:
        """The tasks that the model's poolers serve."""
        return tuple(task for task in self.ctx.tasks if task != PLUGIN)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the model serves: those of its poolers, and those derived from them."""
        pooled = self._pooled
        specs = [entry.spec for entry in self.ctx.registry.tasks.entries() if entry.spec.derived_from]
        derivable = [spec.name for spec in specs if set(pooled) & set(spec.derived_from)]
        derived = [name for name in derivable if self._refusal(name) is None]
        has_plugin = self.ctx.model.io_processor_plugin is not None
        plugin = [PLUGIN] if has_plugin and self._refusal(PLUGIN) is None else []
        return (*pooled, *dict.fromkeys(name for name in derived if name not in pooled), *plugin)

    def _processor_name(self, task: str) -> str:
        plugin = self.ctx.model.io_processor_plugin if task == PLUGIN else None
        return plugin or self.ctx.registry.tasks.get(task).spec.io_processor

    def _refusal(self, task: str) -> str | None:
        """Return why the IO processor of a task does not serve the model; None if it does."""
        try:
            entry = self.ctx.registry.io_processors.get(self._processor_name(task))
            processor: type[IOProcessor[Any]] = entry.load()
            with blamed(entry, "failed in refusal"):
                return processor.refusal(self.ctx.for_task(task))
        except (UnknownNameError, ComponentError) as error:  # an error of a plugin must not affect the other tasks
            return str(error)

    def refusal(self, task: object) -> str:
        """Return why the model does not serve a task, and the tasks that it serves."""
        served = f"Supported tasks: {self.tasks}"
        if not isinstance(task, str):
            return f"Unsupported task: {task!r} {served}"
        if task in CONVERTIBLE:
            api, convert = CONVERTIBLE[task]
            hint = f"Try converting the model using `--convert {convert}`. In Python: LLM(..., convert={convert!r}). "
            if "text" not in self.ctx.model.multimodal.modalities:
                hint = ""  # a converted model would not read text either
            return f"{api} API is not supported by this model. {hint}{served}"
        if task == PLUGIN:
            task_processors = {entry.spec.io_processor for entry in self.ctx.registry.tasks.entries()}
            names = [name for name in self.ctx.registry.io_processors.names() if name not in task_processors]
            missing = (
                "No IOProcessor plugin installed. Name one for this model with io_processor_plugin='NAME', or with the "
                f"key of that name in config.json. Available: {', '.join(names)}."
            )
            has_plugin = self.ctx.model.io_processor_plugin is not None
            return f"{(has_plugin and self._refusal(PLUGIN)) or missing} {served}"
        try:
            spec = self.ctx.registry.tasks.get(task).spec
        except UnknownNameError as error:
            if task == COMBINED_TASK:
                return f"{PLUGINS_ONLY} Unsupported task: {task!r} {served}"
            return f"Unsupported task: {task!r} {served}. {error}"
        reason = self._refusal(task) if spec.derived_from else None
        return f"{reason or f'Unsupported task: {task!r}'} {served}"


def present_name(task: str, served: Collection[str]) -> str:
    """Return the first task of a group such as ``reward`` that the model serves; any other task unchanged."""
    names = TASK_GROUPS.get(task, (task,))
    return next((name for name in names if name in served), names[0])


def windows(total: int, *, first: int = 64, largest: int = 1024) -> Iterator[range]:
    """Yield windows of 0 to ``total`` of growing size; the first is small, so that computation starts early."""
    start, size = 0, first
    while start < total:
        yield range(start, min(start + size, total))
        start, size = start + size, min(size * 4, largest)


def load_pipeline(
    model: str, arguments: "Arguments", plugins: "PluginManager"
) -> "tuple[LoadedModel, Pipeline, ResultCache | None]":
    """Return a loaded model, its pipeline, and its cache; None without one. Raises the errors of ``LLM``."""
    cache = read_cache_setting(plugins.registry, arguments.cache, arguments.cache_size)
    repository = find_repository(plugins.registry, model, arguments.source)  # before importing torch: fail early
    from millpond.loading.build import load_model  # noqa: PLC0415  needs torch

    loaded = load_model(repository, arguments, plugins)
    results = None if cache is None else cache.open(loaded, arguments.parallel.devices)
    return loaded, Pipeline(loaded.context, deduplicate=arguments.deduplicate), results
