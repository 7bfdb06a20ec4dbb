"""BaseLLM: the parts that LLM and AsyncLLM have in common."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from millpond.model.spec import ResolvedModel
from millpond.pipeline.bound_task import BoundTask, Item
from millpond.pipeline.call import read_options
from millpond.pipeline.pipeline import Pipeline
from millpond.pipeline.tokenization import Params, with_settings
from millpond.types.arrays import Form, check_form, check_stackable
from millpond.types.errors import EngineClosedError

if TYPE_CHECKING:
    from millpond.loading.build import LoadedModel
    from millpond.types.space import Space

EMBED_ARGUMENTS = ("dimensions", "output")
CHUNKS_ARGUMENTS = ("spans", "chunk_tokens", "overlap", "method")


class BaseLLM(ABC):
    """A loaded pooling model and its tasks."""

    _loaded: "LoadedModel"
    pipeline: Pipeline

    def __init__(self) -> None:
        self._owner = os.getpid()  # a fork of this process has none of its threads

    @property
    def model_config(self) -> ResolvedModel:
        """The facts about the model: names, limits, tasks, sizes."""
        return self._loaded.context.model

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The pooling tasks of the model."""
        return self.pipeline.tasks

    @cached_property
    def space(self) -> "Space":
        """The files and settings that decide the numbers of embeddings; ``space.descriptor`` is JSON.

        The first access reads all weights.

        Raises:
            CheckpointError: If a file has changed since the model was loaded.
        """
        self._loaded.layers.repository.require_unchanged()
        context = self._loaded.context
        space: Space = context.registry.catalog("space").get("default").load()(self.model_config, context.inputs)
        return space

    @property
    def space_id(self) -> str:
        """The short id of ``space``: embeddings with the same id can be compared."""
        return self.space.id

    def _is_fork(self) -> bool:
        """Return True in a fork of the process that loaded the model."""
        return os.getpid() != self._owner

    def _check_process(self) -> None:
        """Refuse calls in a fork, where they would wait for threads that do not exist.

        Raises:
            EngineClosedError: If the present process is a fork.
        """
        if os.getpid() != self._owner:
            message = (
                f"the model was loaded in process {self._owner}, and process {os.getpid()} is a fork of it without its "
                "threads: load the model after the fork, or start processes with "
                "multiprocessing.get_context('spawn')"
            )
            raise EngineClosedError(message)

    def _embedding_task(self, params: Params, dimensions: int | None, output: Form) -> tuple[str, Params]:
        """Return the task of a call of ``embed``, and its parameters with the number of dimensions."""
        task = self.pipeline.embedding_task(params)
        if output != "objects":
            check_form(output)
            check_stackable(task)
        return task, params if dimensions is None else with_settings(params, {"dimensions": dimensions})

    def _read(
        self,
        task: str | None,
        prompts: object,
        params: Params,
        options: Mapping[str, object],
        arguments: tuple[str, ...] = (),
    ) -> tuple[BoundTask, list[Item], bool]:
        """Return the task and the items of a call, and True if the first error ends it.

        Args:
            task: The name of the task; None for that of the parameters, or of the model's configuration.
            prompts: The prompts as passed by the caller.
            params: Parameters for all, or one for each.
            options: The options of every call, and those of the task.
            arguments: The names of other arguments, for the error of an unknown one.

        Raises:
            InvalidInputError: If the call cannot be served.
            TypeError: If it has an unknown keyword argument.
        """
        bound, raises = self.pipeline.task_of(task, params), True
        if options:
            bound.check_keywords(options, arguments)
            params, options, raises = read_options(params, options)
        return bound, bound.items(prompts, params, options, raises=raises), raises

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the method of a task whose record contains its name.

        Like ``encode``, the method accepts prompts, the options of the task and those of every call.

        Raises:
            AttributeError: If no task has a method of that name.
        """
        pipeline: Pipeline | None = vars(self).get("pipeline")
        spec = None if pipeline is None else pipeline.task_with_method(name)
        if spec is None:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)  # Python then suggests a similar name
        method = partial(self._run_task, spec.name)
        method.__doc__ = f"Return the results of the task {spec.name!r}: {spec.summary}."
        return method

    @abstractmethod
    def _run_task(self, task: str, prompts: object, **options: Any) -> Any:
        """Return the outputs of a task; an awaitable of them in ``AsyncLLM``."""
