"""Pipeline: pre-process -> engine -> post-process, as both front doors use it. Knows neither threads nor asyncio."""

import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any

from millpond.context import Context
from millpond.engine.request import PoolingRequest
from millpond.pipeline import checks as guard
from millpond.pipeline.call import Call, R
from millpond.pipeline.io_processor import IOProcessor
from millpond.pipeline.remote import fetched_together
from millpond.pipeline.tokenization import Params
from millpond.plugin.blame import blamed
from millpond.types.errors import ComponentError, EngineError, InvalidInputError, MillpondError, UnknownNameError
from millpond.types.outputs import PoolingRequestOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import PairItem, plugin_data, split_prompts

logger = logging.getLogger(__name__)
PLUGIN = "plugin"
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


@dataclass(frozen=True)
class Refused:
    """Stands where a prompt stood whose parameters are at fault."""

    error: InvalidInputError


@dataclass(eq=False, kw_only=True)
class Job:
    """One prompt of a call: its requests, and what became of them.

    Attributes:
        index: Its place in the call.
        processor: The IO processor that made its requests.
        requests: Empty if it was refused.
        error: Why it was refused.
        left: How many requests have not ended.
    """

    index: int
    processor: IOProcessor[Any, Any]
    requests: list[PoolingRequest] = field(default_factory=list)
    error: MillpondError | None = None
    left: int = 0


class Pipeline:
    """What a loaded model does with prompts before and after the engine."""

    def __init__(self, ctx: Context, *, dedupe: bool = True) -> None:
        self.ctx = ctx
        self.dedupe = dedupe
        self._processors: dict[str, IOProcessor[Any, Any]] = {}
        self._ids = count()
        if ctx.inputs.chat_template is not None:  # one that cannot be read is told of at once, and not to each caller
            for task in self.tasks:
                self.processor(task)

    def processor(self, task: str | None) -> IOProcessor[Any, Any]:
        """The IO processor of a task that the model serves.

        Raises:
            InvalidInputError: If the model does not serve the task.
        """
        if task is None:
            raise InvalidInputError(NEEDED.format(tasks=", ".join(self.tasks)), parameter="pooling_task")
        if not isinstance(task, str) or task not in self.tasks:
            raise InvalidInputError(self.refusal(task), parameter="pooling_task")
        found = self._processors.get(task)
        if found is None:  # of two threads that build it the first counts, for both
            found = self._processors.setdefault(task, self.ctx.io_processor(self._name_of_processor(task), task=task))
        return found

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that can be asked for: those of the model's poolers, and those that are made of them."""
        own = [task for task in self.ctx.tasks if task != PLUGIN]
        made = [entry.spec for entry in self.ctx.registry.tasks.entries() if entry.spec.made_of]
        possible = [spec.name for spec in made if set(own) & set(spec.made_of) and self._why_not(spec.name) is None]
        named = self.ctx.model.io_processor_plugin is not None
        plugin = [PLUGIN] if named and self._why_not(PLUGIN) is None else []
        return (*own, *dict.fromkeys(name for name in possible if name not in own), *plugin)

    @cached_property
    def _limits(self) -> guard.Limits:
        return guard.limits_of(self.ctx)

    def _renamed(self, task: str | None) -> str | None:
        if not isinstance(task, str) or task not in OLD_TASKS:
            return task
        new = present_name(task, self.tasks)
        warnings.warn(f"the pooling task `{task}` was renamed: use `{new}`", DeprecationWarning, stacklevel=5)
        return new

    def _name_of_processor(self, task: str) -> str:
        plugin = self.ctx.model.io_processor_plugin if task == PLUGIN else None
        return plugin or self.ctx.registry.tasks.get(task).spec.io_processor

    def _why_not(self, task: str) -> str | None:
        """Why the IO processor of a task does not serve the model; None if it does."""
        try:
            entry = self.ctx.registry.io_processors.get(self._name_of_processor(task))
            processor: type[IOProcessor[Any, Any]] = entry.load()
            with blamed(entry, "failed in refusal"):
                return processor.refusal(self.ctx.for_task(task))
        except (UnknownNameError, ComponentError) as error:  # of a plugin's task, which must not cost the other tasks
            return str(error)

    def split(
        self, prompts: object, params: Params, task: str | None, *, raises: bool = True
    ) -> tuple[IOProcessor[Any, Any], list[tuple[object, PoolingParams]]]:
        """A call as single prompts with their parameters, and the IO processor that serves them.

        Args:
            prompts: What the caller passed.
            params: Parameters for all, or one for each.
            task: The pooling task.
            raises: Whether the parameters of one prompt, at fault, end the call; else that prompt alone.
        """
        shared = params if isinstance(params, PoolingParams) else None
        task = self._renamed(task or (shared.task if shared else None)) or self.ctx.pooler_config.task
        if task is None and self.tasks == (PLUGIN,):
            task = PLUGIN
        processor = self.processor(task)
        items = split_prompts(prompts) if task == PLUGIN else guard.split(processor, prompts)
        if params is None or isinstance(params, PoolingParams):
            each = [self._complete(processor, params, task)] * len(items)
        else:
            if isinstance(params, str | Mapping) or not isinstance(params, Sequence):
                message = f"pooling_params must be PoolingParams, or a list of them; got {type(params).__name__}"
                raise InvalidInputError(message, parameter="pooling_params")
            given = list(params)
            if len(given) != len(items):
                message = f"The lengths of prompts ({len(items)}) and params ({len(given)}) must be the same."
                raise InvalidInputError(message, parameter="pooling_params")
            each = []
            for index, own in enumerate(given):
                try:
                    each.append(self._complete(processor, own, task))
                except InvalidInputError as error:
                    if raises:
                        raise error.at(index) from None
                    items[index] = Refused(error)
                    each.append(PoolingParams())
        return processor, list(zip(items, each, strict=True))

    def places(self, items: Sequence[tuple[object, PoolingParams]]) -> dict[int, list[int]]:
        """The prompts of a call that are to be computed, by place, each with all the places that its result is for."""
        return equal_prompts(items) if self.dedupe else {place: [place] for place in range(len(items))}

    def prepare(
        self, processor: IOProcessor[Any, Any], places: Sequence[int], items: Sequence[tuple[object, PoolingParams]]
    ) -> list[Job]:
        """Make requests of prompts; a prompt at fault becomes a job with an error.

        Args:
            processor: The IO processor of the task.
            places: The place of each of them in the call.
            items: Prompts with their parameters.
        """
        with fetched_together(data for data, _ in items):
            return self._prepare(processor, places, items)

    def _prepare(
        self, processor: IOProcessor[Any, Any], places: Sequence[int], items: Sequence[tuple[object, PoolingParams]]
    ) -> list[Job]:
        jobs = [Job(index=place, processor=processor) for place in places]
        parsed: list[tuple[Job, tuple[Any, PoolingParams]]] = []
        is_plugin = self._is_plugin(processor)
        for job, (item, params) in zip(jobs, items, strict=True):
            if isinstance(item, Refused):
                job.error = _located(item.error, job.index)
                continue
            try:
                data = plugin_data(item) if is_plugin else item
                parsed.append((job, (guard.parse(processor, data), params)))
            except MillpondError as error:
                job.error = _located(error, job.index)
        made = (
            guard.make_requests(processor, [item for _, item in parsed], self.ctx.tasks, self._limits) if parsed else []
        )
        for (job, _), requests in zip(parsed, made, strict=True):
            if isinstance(requests, MillpondError):
                job.error = _located(requests, job.index)
                continue
            job.requests = requests
            job.left = sum(not request.is_ready for request in requests)
            for request in requests:
                request.owner = job
        return jobs

    def finish_all(self, job: Job, places: Sequence[int]) -> Iterator[tuple[int, PoolingRequestOutput[Any]]]:
        """The output of an ended job at each place of the call that its prompt stands at; all but one are copies."""
        for place in places:
            own = job
            if place != job.index:
                requests = [copy_of(request) for request in job.requests]
                own = replace(job, index=place, requests=requests)
            yield place, self.finish(own)

    def answers(
        self,
        call: Call[R],
        processor: IOProcessor[Any, Any],
        items: Sequence[tuple[object, PoolingParams]],
        outputs: Iterable[PoolingRequestOutput[Any]],
    ) -> list[R]:
        """What a call gives, of the outputs of its items in their order; those of a plugin have no ids, as in vLLM."""
        data, outputs = [item for item, _ in items], list(outputs)
        _tell_what_was_cut(items, outputs)
        if self._is_plugin(processor):
            return [call.output(**vars(output)) for output in guard.join(processor, data, outputs)]
        numbered = [replace(output, request_id=str(next(self._ids))) for output in outputs]
        return [call.retyped(output) for output in guard.join(processor, data, numbered)]

    def finish(self, job: Job) -> PoolingRequestOutput[Any]:
        """The output of a job whose requests have all ended; it has no id yet."""
        error = job.error or next((request.error for request in job.requests if request.error is not None), None)
        output: object = None
        if error is None:
            try:
                output = guard.make_output(job.processor, job.requests)
            except MillpondError as raised:
                error = raised
        return PoolingRequestOutput(
            request_id="",
            outputs=output,
            prompt_token_ids=[] if self._is_plugin(job.processor) else _ids_of(job.requests),
            error=_located(error, job.index),
            num_dropped_tokens=sum(request.num_dropped_tokens for request in job.requests),
        )

    def _complete(
        self, processor: IOProcessor[Any, Any], params: PoolingParams | None, task: str | None
    ) -> PoolingParams:
        if params is not None and not isinstance(params, PoolingParams):
            message = f"pooling_params must be PoolingParams; got {type(params).__name__}"
            raise InvalidInputError(message, parameter="pooling_params")
        if params is not None and params.task not in (None, task, processor.derived_from):
            message = f"You cannot overwrite param.task={params.task!r} with pooling_task={task!r}!"
            raise InvalidInputError(message, parameter="pooling_task")
        return self._with_side(guard.complete(processor, params))

    def _with_side(self, params: PoolingParams) -> PoolingParams:
        """Tokens are cut from the side that the call says, else from that of the model's tokenizer."""
        tokenizer = self.ctx.tokenizer
        if params.truncation_side is not None or tokenizer is None or tokenizer.truncation_side != "left":
            return params
        return params.model_copy(update={"truncation_side": "left"})

    def _is_plugin(self, processor: IOProcessor[Any, Any]) -> bool:
        """Whether it serves the task "plugin": what it takes and gives is its own."""
        return self._processors.get(PLUGIN) is processor

    def refusal(self, task: object) -> str:
        """Return why the model does not serve a task, and the tasks that it serves."""
        served = f"Supported tasks: {self.tasks}"
        if not isinstance(task, str):
            return f"Unsupported task: {task!r} {served}"
        if task in CONVERTED:
            what, convert = CONVERTED[task]
            hint = f"Try converting the model using `--convert {convert}`. In Python: LLM(..., convert={convert!r}). "
            hint = "" if self.ctx.model.modalities == (FEATURES,) else hint  # no conversion makes it read text
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
        reason = self._why_not(task) if spec.made_of else None
        return f"{reason or f'Unsupported task: {task!r}'} {served}"


def _ids_of(requests: Sequence[PoolingRequest]) -> list[int]:
    """The token ids of a prompt; none where it became several requests that are not parts of one whole."""
    ids: list[int] = []
    if requests and (requests[0].whole is not None or len(requests) == 1):
        whole = requests[0].whole
        ids = (requests[0].input_ids if whole is None else whole).tolist()
    return ids


def _tell_what_was_cut(
    items: Sequence[tuple[object, PoolingParams]], outputs: Sequence[PoolingRequestOutput[Any]]
) -> None:
    """Log, once a call, that prompts were cut which nobody asked to be of a certain length."""
    dropped = [
        output.num_dropped_tokens
        for (_, params), output in zip(items, outputs, strict=True)
        if params.on_overflow == "truncate" and params.truncate_prompt_tokens is None and output.truncated
    ]
    if dropped:
        logger.warning(
            "on_overflow='truncate': %d of %d prompts were longer than the model reads and cut; %d tokens were dropped",
            len(dropped),
            len(items),
            sum(dropped),
        )


def present_name(task: str, served: Collection[str]) -> str:
    """The task by its present name: of those that an old one was split into, the first that a model serves."""
    names = OLD_TASKS.get(task, (task,))
    return next((name for name in names if name in served), names[0])


def _located(error: MillpondError | None, index: int) -> MillpondError | None:
    if isinstance(error, InvalidInputError) and error.index != index:
        return error.at(index)
    if isinstance(error, ComponentError) and not str(error).startswith("prompt "):
        return error.at(index)
    if isinstance(error, EngineError) and not str(error).startswith("prompt "):
        located = type(error)(f"prompt {index}: {error}")
        located.__cause__ = error.__cause__
        return located
    return error


def copy_of(request: PoolingRequest) -> PoolingRequest:
    """The request with results of its own: who writes to them must not write to those of another prompt."""
    return replace(request, results=[array.copy() for array in request.results])


def equal_prompts(items: Sequence[tuple[object, PoolingParams]]) -> dict[int, list[int]]:
    """The places of equal texts, or pairs, with the same parameters, by the first; other prompts stand alone."""
    first: dict[tuple[object, int], int] = {}
    places: dict[int, list[int]] = {}
    for place, (data, params) in enumerate(items):
        key = _key(data)
        leader = place if key is None else first.setdefault((key, id(params)), place)
        places.setdefault(leader, []).append(place)
    return places


def _key(data: object) -> object:
    """What a prompt is told from others by; None if that is not known."""
    text = data.get("prompt") if isinstance(data, Mapping) and len(data) == 1 else data
    return text if isinstance(text, str | PairItem) else None


def windows(total: int, *, first: int = 64, largest: int = 1024) -> Iterator[range]:
    """Places 0 to total in windows that grow: the first is small, so that computing starts early."""
    start, size = 0, first
    while start < total:
        yield range(start, min(start + size, total))
        start, size = start + size, min(size * 4, largest)
