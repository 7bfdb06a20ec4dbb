"""Pipeline: the tasks of a loaded model, each bound to what serves it. It knows neither threads nor asyncio."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from millpond.context import Context
from millpond.pipeline.bound_task import PLUGIN, BoundTask, Job
from millpond.pipeline.call import TaskCall
from millpond.pipeline.io_processor import IOProcessor, Item
from millpond.pipeline.tokenization import Params
from millpond.plugin.blame import blamed
from millpond.types.errors import ComponentError, InvalidInputError, UnknownNameError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import TaskSpec

FEATURES = "features"  # the modality of models whose IO processor makes all that they read
OLD_TASKS = {"encode": ("token_embed", "token_classify"), "reward": ("token_classify", "token_embed")}
NEEDED = (
    "pooling_task required for `LLM.encode`.\n"
    'Use `LLM.embed(...)` or `pooling_task="embed"` for embeddings, `LLM.classify(...)` or `pooling_task="classify"` '
    "for class probabilities, `LLM.score(...)` for similarity scores, `LLM.reward(...)` or "
    '`pooling_task="token_classify"` for rewards, `pooling_task="token_embed"` for multi-vector retrieval, '
    '`pooling_task="plugin"` for IO processor plugins. This model serves: {tasks}.'
)
CONVERTED = {
    "embed": ("Embedding", "embed"),
    "token_embed": ("Embedding", "embed"),
    "classify": ("Classification", "classify"),
    "token_classify": ("Classification", "classify"),
}
TWO_TASKS = "embed&token_classify"  # what vLLM calls two tasks that a plugin asks for at once
OF_PLUGINS_ALONE = (
    f"The {TWO_TASKS!r} pooling task is only available through an IO processor plugin. Send a plugin request with a "
    "'data' field, or select a concrete task with --pooler-config.task."
)


class Pipeline:
    """What a loaded model does with prompts before and after the engine."""

    def __init__(self, ctx: Context, *, dedupe: bool = True) -> None:
        self.ctx = ctx
        self.dedupe = dedupe
        self._bound: dict[str, BoundTask] = {}
        self._ids = count()
        if ctx.inputs.chat_template is not None:  # an invalid one is reported at once, and not to each caller
            for task in self.tasks:
                self.bind(task)

    def bind(self, task: str | None) -> BoundTask:
        """Return a task that the model serves, bound to the model.

        Raises:
            InvalidInputError: If the model does not serve the task.
        """
        bound = self._bound.get(task) if isinstance(task, str) else None
        if bound is not None:
            return bound
        if task is None:
            raise InvalidInputError(NEEDED.format(tasks=", ".join(self.tasks)), parameter="pooling_task")
        if not isinstance(task, str) or task not in self.tasks:
            raise InvalidInputError(self.refusal(task), parameter="pooling_task")
        processor = self.ctx.io_processor(self._name_of_processor(task), task=task)
        # Of two threads that build it the first counts, for both.
        return self._bound.setdefault(task, BoundTask(task, processor, self._ids, deduplicate=self.dedupe))

    def processor(self, task: str | None) -> IOProcessor[Any]:
        """Return the IO processor of a task that the model serves.

        Raises:
            InvalidInputError: If the model does not serve the task.
        """
        return self.bind(task).processor

    def task_of(self, task: str | None, params: Params) -> BoundTask:
        """Return the task of a call: the one that it names, that its parameters name, or that is configured.

        Raises:
            InvalidInputError: If the model does not serve it, or it must be named.
        """
        if task is None and isinstance(params, PoolingParams):
            task = params.task
        if isinstance(task, str) and task in OLD_TASKS:
            task = self._renamed(task)
        task = task or self.ctx.pooler_config.task
        return self.bind(PLUGIN if task is None and self.tasks == (PLUGIN,) else task)

    def items(self, call: TaskCall[Any]) -> tuple[BoundTask, list[Item]]:
        """Return the task and the items of a call.

        Raises:
            InvalidInputError: If the call cannot be served.
            TypeError: If it has a keyword that the task does not know.
        """
        task = self.task_of(call.task, call.params)
        if call.options:
            task.check_keywords(call.options)
        return task, task.items(call.prompts, call.params, call.options, raises=call.raises)

    def task_with_method(self, name: str) -> "Entry[TaskSpec] | None":
        """Return the record of the task that has a method of some name; None if there is none."""
        entries = self.ctx.registry.tasks.entries()
        return next((entry for entry in entries if entry.spec.method == name), None)

    def split(
        self, prompts: object, params: Params, task: str | None, *, raises: bool = True
    ) -> tuple[BoundTask, list[Item]]:
        """Return the bound task and the items of prompts.

        Raises:
            InvalidInputError: If the call cannot be served.
        """
        bound = self.task_of(task, params)
        return bound, bound.items(prompts, params, raises=raises)

    def prepare(self, bound: BoundTask, places: Sequence[int], items: Sequence[Item]) -> list[Job]:
        """Make the work of items, at their places in the call."""
        return bound.encode(places, items)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that can be asked for: those of the model's poolers, and those that are made of them."""
        own = [task for task in self.ctx.tasks if task != PLUGIN]
        made = [entry.spec for entry in self.ctx.registry.tasks.entries() if entry.spec.derived_from]
        possible = [
            spec.name for spec in made if set(own) & set(spec.derived_from) and self._why_not(spec.name) is None
        ]
        named = self.ctx.model.io_processor_plugin is not None
        plugin = [PLUGIN] if named and self._why_not(PLUGIN) is None else []
        return (*own, *dict.fromkeys(name for name in possible if name not in own), *plugin)

    def _renamed(self, task: str) -> str:
        new = present_name(task, self.tasks)
        warnings.warn(f"the pooling task `{task}` was renamed: use `{new}`", DeprecationWarning, stacklevel=6)
        return new

    def _name_of_processor(self, task: str) -> str:
        plugin = self.ctx.model.io_processor_plugin if task == PLUGIN else None
        return plugin or self.ctx.registry.tasks.get(task).spec.io_processor

    def _why_not(self, task: str) -> str | None:
        """Why the IO processor of a task does not serve the model; None if it does."""
        try:
            entry = self.ctx.registry.io_processors.get(self._name_of_processor(task))
            processor: type[IOProcessor[Any]] = entry.load()
            with blamed(entry, "failed in refusal"):
                return processor.refusal(self.ctx.for_task(task))
        except (UnknownNameError, ComponentError) as error:  # of a plugin's task, which must not cost the other tasks
            return str(error)

    def refusal(self, task: object) -> str:
        """Return why the model does not serve a task, and the tasks that it serves."""
        served = f"Supported tasks: {self.tasks}"
        if not isinstance(task, str):
            return f"Unsupported task: {task!r} {served}"
        if task in CONVERTED:
            what, convert = CONVERTED[task]
            hint = f"Try converting the model using `--convert {convert}`. In Python: LLM(..., convert={convert!r}). "
            hint = (
                "" if self.ctx.model.multimodal.modalities == (FEATURES,) else hint
            )  # no conversion makes it read text
            return f"{what} API is not supported by this model. {hint}{served}"
        if task == PLUGIN:
            of_tasks = {entry.spec.io_processor for entry in self.ctx.registry.tasks.entries()}
            names = [name for name in self.ctx.registry.io_processors.names() if name not in of_tasks]
            none = (
                "No IOProcessor plugin installed. Name one for this model with io_processor_plugin='NAME', or with the "
                f"key of that name in config.json. Available: {', '.join(names)}."
            )
            named = self.ctx.model.io_processor_plugin is not None
            return f"{(named and self._why_not(PLUGIN)) or none} {served}"
        try:
            spec = self.ctx.registry.tasks.get(task).spec
        except UnknownNameError as error:
            if task == TWO_TASKS:
                return f"{OF_PLUGINS_ALONE} Unsupported task: {task!r} {served}"
            return f"Unsupported task: {task!r} {served}. {error}"
        reason = self._why_not(task) if spec.derived_from else None
        return f"{reason or f'Unsupported task: {task!r}'} {served}"


def present_name(task: str, served: Collection[str]) -> str:
    """The task by its present name: of those that an old one was split into, the first that a model serves."""
    names = OLD_TASKS.get(task, (task,))
    return next((name for name in names if name in served), names[0])


def windows(total: int, *, first: int = 64, largest: int = 1024) -> Iterator[range]:
    """Places 0 to total in windows that grow: the first is small, so that computing starts early."""
    start, size = 0, first
    while start < total:
        yield range(start, min(start + size, total))
        start, size = start + size, min(size * 4, largest)
