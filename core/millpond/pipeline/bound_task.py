"""BoundTask: a task of a loaded model with everything that its calls need, looked up once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from millpond.engine.request import PoolingRequest
from millpond.pipeline import checks
from millpond.pipeline.call import CALL_OPTIONS, NO_OPTIONS, unknown_keyword
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import OptionsReader, item_type, read_item
from millpond.pipeline.tokenization import Params
from millpond.types.errors import InvalidInputError, MillpondError, PluginError, located
from millpond.types.outputs import PoolingOutput, PoolingRequestOutput, SparseEmbeddingOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import PairItem, plugin_data, split_prompts

if TYPE_CHECKING:
    from itertools import count

    from millpond.context import ModelContext
    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import TaskSpec

logger = logging.getLogger(__name__)
PLUGIN = "plugin"
Item = tuple[Any, Call]
"""A prompt, or its error, and a call without prompts that has its completed parameters and options."""

Items = Sequence[Item]
NO_CALL = Call()  # for prompts with invalid parameters
Output = PoolingRequestOutput[Any]


class BoundTask:
    """A task of a loaded model: its IO processor, options, defaults and checks, looked up once.

    Attributes:
        name: The name of the task.
        processor: The IO processor that serves it.
        limits: The limits that sequences are checked against.
        item_type: The type of its items, if it reads objects; None if it reads texts.
        is_plugin: True for the task "plugin", whose IO processor defines input and output.
    """

    def __init__(self, name: str, processor: IOProcessor[Any], ids: "count[int]", *, deduplicate: bool) -> None:
        ctx = processor.ctx
        self.name = name
        self.processor = processor
        self.is_plugin = name == PLUGIN
        self.limits = checks.limits_of(processor)
        self.item_type = item_type(processor)
        self._read = OptionsReader(processor)
        self._ids = ids
        self._deduplicate = deduplicate
        self._latest: tuple[PoolingParams | None, Call] | None = None
        self._cuts_left = _cuts_left(ctx)

    def check_keywords(self, options: Mapping[str, object], arguments: Sequence[str] = ()) -> None:
        """Refuse a keyword that is not an option of the task or of all calls; suggest the closest name.

        Args:
            options: The keyword arguments.
            arguments: The names of other arguments of the method.

        Raises:
            TypeError: If one is unknown.
        """
        known = self._read.names
        unknown = next((name for name in options if name not in known and name not in CALL_OPTIONS), None)
        if unknown is not None:
            raise unknown_keyword(unknown, (*CALL_OPTIONS, "pooling_params", *arguments, *known))

    def items(
        self, prompts: object, params: Params = None, options: Mapping[str, object] = NO_OPTIONS, *, raises: bool = True
    ) -> list[Item]:
        """Return the items of a call, each with its parameters and options.

        Args:
            prompts: The argument of the caller.
            params: Parameters for all, or one for each.
            options: Options of the task by name.
            raises: True if invalid parameters of one prompt end the call; otherwise only this prompt fails.

        Raises:
            InvalidInputError: If the call itself, or parameters of all items, are invalid.
        """
        if self.item_type is not None and isinstance(prompts, self.item_type):
            prompts = [prompts]
        if self.is_plugin:
            each: Sequence[object] = [_plugin_data(prompt) for prompt in split_prompts(prompts)]
        else:
            each = list(checks.run_step(self.processor, "items", self.processor.items, prompts))
        if self.item_type is not None:
            each = [self._read_item(data, self.item_type) for data in each]
        if params is None or isinstance(params, PoolingParams):
            call = self._call(params, options)
            return [(data, call) for data in each]
        return self._items_with_params(each, params, options, raises=raises)

    def _read_item(self, data: object, item_type: type[BaseModel]) -> object:
        """Return an item as an instance of its type, or its error; the type may have validators of a plugin."""
        try:
            return read_item(data, item_type, self.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
            return checks.failure(self.processor, "the type of its items", error)

    def groups(self, items: Items) -> dict[int, list[int]]:
        """Return the indices of the items to compute, each with the indices of all items that share its result."""
        if len(items) == 1:
            return {0: [0]}
        return equal_prompts(items) if self._deduplicate else {index: [index] for index in range(len(items))}

    def encode(self, indices: Sequence[int], items: Items, shared: dict[Any, Any] | None = None) -> list[Job]:
        """Encode items, those of each call together; an invalid item becomes a job with an error.

        Args:
            indices: The index of each item in the call.
            items: The items.
            shared: The dict that the windows of the call share.
        """
        shared = {} if shared is None else shared
        jobs: list[Job | None] = [None] * len(items)
        positions_by_call: dict[Call, list[int]] = {}
        for position, (data, call) in enumerate(items):
            if isinstance(data, MillpondError):
                jobs[position] = Job(error=data)
            else:
                positions_by_call.setdefault(call, []).append(position)
        for call, positions in positions_by_call.items():
            window = replace(call, prompts=[items[position][0] for position in positions], shared=shared)
            for position, job in zip(positions, checks.encoded(self.processor, window, self.limits), strict=True):
                jobs[position] = job
        encoded: list[Job] = []
        for index, each in zip(indices, jobs, strict=True):
            assert each is not None  # noqa: S101  set above for each position
            job = (
                replace(each) if each.index >= 0 else each
            )  # an IO processor may return one object for several prompts
            job.index = index
            encoded.append(job)
        return encoded

    def decode(self, jobs: Sequence[Job]) -> Sequence[object]:
        """Return the outputs of jobs whose sequences have results, or the error of each job that fails."""
        outputs = checks.decoded(self.processor, jobs)
        content = self._content
        for index, output in enumerate(outputs):
            if not isinstance(output, content) and not isinstance(output, MillpondError):
                outputs[index] = checks.converted(self.processor, output, content)
        return outputs

    def finish(
        self, jobs: Iterable[Job], groups: Mapping[int, Sequence[int]], *, plain: bool = False
    ) -> list[tuple[int, PoolingRequestOutput[Any]]]:
        """Return the outputs of ended jobs with their indices; outputs of equal prompts are made from copies.

        Args:
            jobs: The jobs.
            groups: The indices of the items that share the result of a job.
            plain: True for outputs without the methods of the task's type, as ``encode`` returns them.
        """
        ended: list[tuple[int, Job, MillpondError | None]] = []
        computed: list[Job] = []
        for job in jobs:
            error = job.error
            for sequence in job.sequences:
                error = error or sequence.error
            for index in groups[job.index]:
                ended.append((index, job, error))
                if error is None:
                    computed.append(job if index == job.index else _with_copies(job))
        decoded = iter(self.decode(computed) if computed else ())
        output_type = PoolingRequestOutput if plain else self._output_type
        outputs: list[tuple[int, PoolingRequestOutput[Any]]] = []
        for index, job, error in ended:
            result = next(decoded) if error is None else error
            if plain and isinstance(result, SparseEmbeddingOutput):
                result = PoolingOutput.from_base(result)
            failure = result if isinstance(result, MillpondError) else None
            output = output_type(
                request_id=job.request_id,
                outputs=None if failure is not None else result,
                prompt_token_ids=[] if self.is_plugin else job.prompt_token_ids,
                error=None if failure is None else located(failure, index),
                num_dropped_tokens=job.num_dropped_tokens,
            )
            outputs.append((index, output))
        return outputs

    def numbered(self, items: Items, outputs: list[PoolingRequestOutput[Any]]) -> list[PoolingRequestOutput[Any]]:
        """Return the outputs of a call, in order, with their ids; outputs of a plugin have none."""
        is_truncated = False
        for output in outputs:
            is_truncated = is_truncated or output.num_dropped_tokens > 0
            if not self.is_plugin:
                output.request_id = output.request_id or str(next(self._ids))
        if is_truncated:
            _log_truncation(items, outputs)
        return outputs

    @cached_property
    def _entry(self) -> "Entry[TaskSpec] | None":
        """The record of the task; None for the task "plugin"."""
        return None if self.is_plugin else self.processor.ctx.registry.tasks.find(self.name)

    @cached_property
    def _output_type(self) -> type[PoolingRequestOutput[Any]]:
        """The type of the output of a prompt."""
        return PoolingRequestOutput if self._entry is None else output_of(self._entry)

    @cached_property
    def _content(self) -> type:
        """The type that ``decode`` must return: the target of the task's record."""
        target: object = object if self._entry is None else self._entry.load()
        return target if isinstance(target, type) else object

    def _call(self, params: PoolingParams | None, options: Mapping[str, object]) -> Call:
        """Return a call with completed parameters; the latest one is kept for the next call with the same."""
        latest = self._latest
        if latest is not None and latest[0] is params and not options:
            return latest[1]
        call = self._completed(params, options)
        if not options and (params is None or params.extra_kwargs is None):  # else a caller could change them
            self._latest = params, call
        return call

    def _items_with_params(
        self, each: Sequence[object], params: object, options: Mapping[str, object], *, raises: bool
    ) -> list[Item]:
        """Return the items, each with its own parameters."""
        if isinstance(params, str | Mapping) or not isinstance(params, Sequence):
            message = f"pooling_params must be PoolingParams, or a list of them; got {type(params).__name__}"
            raise InvalidInputError(message, parameter="pooling_params")
        if len(params) != len(each):
            message = f"The lengths of prompts ({len(each)}) and params ({len(params)}) must be the same."
            raise InvalidInputError(message, parameter="pooling_params")
        completed: dict[int, Call] = {}
        items: list[Item] = []
        for index, (data, item_params) in enumerate(zip(each, params, strict=True)):
            try:
                if id(item_params) not in completed:
                    completed[id(item_params)] = self._completed(item_params, options)
                items.append((data, completed[id(item_params)]))
            except InvalidInputError as error:
                if raises:
                    raise error.at(index) from None
                items.append((error, NO_CALL))
        return items

    def _completed(self, params: object, options: Mapping[str, object]) -> Call:
        if params is not None and not isinstance(params, PoolingParams):
            message = f"pooling_params must be PoolingParams; got {type(params).__name__}"
            raise InvalidInputError(message, parameter="pooling_params")
        if params is not None and params.task not in (None, self.name, self.processor.derived_from):
            message = f"You cannot overwrite param.task={params.task!r} with pooling_task={self.name!r}!"
            raise InvalidInputError(message, parameter="pooling_task")
        call = checks.run_step(self.processor, "complete", self.processor.complete, self._read(params, options))
        if not isinstance(call, Call):
            raise checks.breach(self.processor, f"complete must return Call; it returned {type(call).__name__}")
        if not self._cuts_left or call.params.truncation_side is not None:
            return call
        return replace(call, params=call.params.model_copy(update={"truncation_side": "left"}))


def output_of(entry: "Entry[TaskSpec]") -> type[PoolingRequestOutput[Any]]:
    """Return the type of the outputs of a task's method.

    Raises:
        UnknownNameError: If the type that the record names cannot be imported.
        PluginError: If it is not a subclass of PoolingRequestOutput.
    """
    if entry.spec.output is None:
        return PoolingRequestOutput
    output_type = entry.load("output")
    if not (isinstance(output_type, type) and issubclass(output_type, PoolingRequestOutput)):
        message = f"{entry.label}: its output must be a subclass of PoolingRequestOutput; got {output_type!r:.80}"
        raise PluginError(message)
    return output_type


def new_sequences(jobs: Sequence[Job]) -> list[PoolingRequest]:
    """Return the sequences of jobs that must be computed, each once, and record which jobs wait for them."""
    sequences: list[PoolingRequest] = []
    for job in jobs:
        for sequence in job.sequences:
            if sequence.is_ready:
                continue
            if sequence.state.owner is None:
                sequence.state.owner = []
                sequences.append(sequence)
            sequence.state.owner.append(job)
            job.left += 1
    return sequences


def equal_prompts(items: Items) -> dict[int, list[int]]:
    """Return the indices of equal texts or pairs with the same parameters, by the first; other items are unique."""
    first: dict[tuple[object, int], int] = {}
    groups: dict[int, list[int]] = {}
    for index, (data, call) in enumerate(items):
        key = _key(data)
        leader = index if key is None else first.setdefault((key, id(call)), index)
        groups.setdefault(leader, []).append(index)
    return groups


def _key(data: object) -> object:
    """Return the value that equal prompts have in common; None if they cannot be compared."""
    text = data.get("prompt") if isinstance(data, Mapping) and len(data) == 1 else data
    return text if isinstance(text, str | PairItem) else None


def _plugin_data(prompt: object) -> object:
    """Return the data of a prompt of the task "plugin", or the error of an invalid one."""
    try:
        return plugin_data(prompt)
    except InvalidInputError as error:
        return error


def _with_copies(job: Job) -> Job:
    """Return a job with copies of its results, so that two outputs never share an array."""
    copies = [replace(it, results=[array.copy() for array in it.results]) for it in job.sequences]
    return replace(job, sequences=tuple(copies))


def _log_truncation(items: Items, outputs: Sequence[PoolingRequestOutput[Any]]) -> None:
    """Log once per call the number of prompts truncated because of ``on_overflow``."""
    dropped = [
        output.num_dropped_tokens
        for output, (_, call) in zip(outputs, items, strict=True)
        if output.num_dropped_tokens
        and call.params.on_overflow == "truncate"
        and call.params.truncate_prompt_tokens is None
    ]
    if dropped:
        logger.warning(
            "on_overflow='truncate': %d of %d prompts were over the model's maximum and truncated; "
            "at least %d tokens dropped",
            len(dropped),
            len(items),
            sum(dropped),
        )


def _cuts_left(ctx: "ModelContext") -> bool:
    """True if the model's tokenizer truncates on the left unless a call specifies the side."""
    return ctx.tokenizer is not None and ctx.tokenizer.truncation_side == "left"
