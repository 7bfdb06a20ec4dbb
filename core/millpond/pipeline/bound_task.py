"""BoundTask: a task of a loaded model with all that its calls need, looked up once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from millpond.compat.io_adapter import OldProcessor
from millpond.compat.io_contract import is_old
from millpond.engine.request import PoolingRequest
from millpond.pipeline import checks
from millpond.pipeline.call import CALL_OPTIONS, NO_OPTIONS, R, TaskCall, unknown_keyword
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Item, Work
from millpond.pipeline.options import OptionsReader
from millpond.pipeline.remote import fetched_together
from millpond.pipeline.tokenization import Params
from millpond.plugin.blame import is_foreign, owner_of
from millpond.types.errors import ComponentError, EngineError, InvalidInputError, MillpondError, PluginError
from millpond.types.outputs import PoolingRequestOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import PairItem, plugin_data, split_prompts

if TYPE_CHECKING:
    from itertools import count

    from millpond.context import ModelContext
    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import TaskSpec

logger = logging.getLogger(__name__)
PLUGIN = "plugin"
Items = Sequence[Item]
Output = PoolingRequestOutput[Any]


@dataclass(frozen=True)
class Refused:
    """Placeholder for a prompt with invalid parameters."""

    error: MillpondError


@dataclass(eq=False, slots=True)
class Job:
    """One item of a call on its way: its work, and the number of its sequences that are not computed yet.

    Attributes:
        index: Its place in the call.
        work: Its sequences, or its error.
        left: The number of sequences that have not ended.
    """

    index: int
    work: Work
    left: int = 0

    @property
    def requests(self) -> list[PoolingRequest]:
        """The sequences of its work."""
        return list(self.work.sequences)

    @property
    def error(self) -> MillpondError | None:
        """The error of its work, with its place; None if it has none."""
        return None if self.work.error is None else _located(self.work.error, self.index)


class BoundTask:
    """A task of a loaded model: its IO processor, options, defaults and checks, looked up once.

    Attributes:
        name: The name of the task.
        processor: The IO processor that serves it.
        contract: The same as it is called: the adapter of one that implements the contract before 0.2.
        is_quick: True if outputs of a few items are made in microseconds.
        is_plugin: True for the task "plugin", whose input and output are its IO processor's own.
    """

    def __init__(self, name: str, processor: IOProcessor[Any], ids: "count[int]", *, deduplicate: bool) -> None:
        ctx, limits = processor.ctx, checks.NO_LIMITS
        if is_foreign(owner_of(processor)):
            limits = checks.limits_of(ctx)
        self.name = name
        self.processor = processor
        self.is_plugin = name == PLUGIN
        self._limits = limits
        self._old = OldProcessor(processor, limits) if is_old(type(processor)) else None
        self.contract: IOProcessor[Any] = self._old or processor
        self.is_quick = processor.quick
        self._read = OptionsReader(processor)
        self._ids = ids
        self._deduplicate = deduplicate
        self._default: Asked | None = None
        self._cuts_left = _cuts_left(ctx)
        self._reads_images = "text" not in ctx.model.multimodal.modalities or len(ctx.model.multimodal.modalities) > 1

    def items(
        self, prompts: object, params: Params = None, options: Mapping[str, object] = NO_OPTIONS, *, raises: bool = True
    ) -> list[Item]:
        """Return the items of a call, each with what is asked of it.

        Args:
            prompts: What the caller passed.
            params: Parameters for all, or one for each.
            options: Options of the task by name.
            raises: True if invalid parameters of one prompt end the call; else they cost that prompt alone.

        Raises:
            InvalidInputError: If the call itself, or parameters of all items, cannot be served.
        """
        each = split_prompts(prompts) if self.is_plugin else checks.items_of(self.contract, prompts)
        if params is None and not options:
            if self._default is None:
                self._default = self._completed(None, options)
            default = self._default
            items = [Item(data, default) for data in each]
        elif params is None or isinstance(params, PoolingParams):
            asked = self._completed(params, options)
            items = [Item(data, asked) for data in each]
        else:
            items = self._with_own(each, params, options, raises=raises)
        return self._unwrapped(items) if self.is_plugin else items

    def places(self, items: Items) -> dict[int, list[int]]:
        """Return the items that are computed, by place, each with all the places that its result is for."""
        if len(items) == 1 or not self._deduplicate:
            return {place: [place] for place in range(len(items))}
        return equal_prompts(items)

    def encode(self, places: Sequence[int], items: Items, shared: dict[Any, Any] | None = None) -> list[Job]:
        """Make the work of items; an invalid item becomes a job with an error.

        Args:
            places: The place of each item in the call.
            items: The items.
            shared: The dict that the windows of the call share.
        """
        valid = [item for item in items if not isinstance(item.data, Refused)]
        call = Call(valid, {} if shared is None else shared)
        if not valid:
            works: Sequence[Work] = ()
        elif self._reads_images:
            with fetched_together(item.data for item in valid):
                works = checks.encode(self.contract, call, self._limits)
        else:
            works = checks.encode(self.contract, call, self._limits)
        if len(valid) == len(items):
            return [Job(place, work) for place, work in zip(places, works, strict=True)]
        left = iter(works)
        return [
            Job(place, Work(error=item.data.error) if isinstance(item.data, Refused) else next(left))
            for place, item in zip(places, items, strict=True)
        ]

    def finish(
        self, jobs: Iterable[Job], places: Mapping[int, Sequence[int]]
    ) -> list[tuple[int, PoolingRequestOutput[Any]]]:
        """Return the output of ended jobs at each place of the call; all but one of equal prompts are copies."""
        works = [(place, _at_place(job, place)) for job in jobs for place in places[job.index]]
        errors = [work.error or _error_of(work) for _, work in works]
        whole = [work for (_, work), error in zip(works, errors, strict=True) if error is None]
        decoded = iter(checks.decode(self.contract, whole) if whole else ())
        return [
            (place, self._output(place, work, next(decoded) if error is None else error))
            for (place, work), error in zip(works, errors, strict=True)
        ]

    def answers(self, call: TaskCall[R], items: Items, outputs: Sequence[PoolingRequestOutput[Any]]) -> list[R]:
        """Return what a call returns, of the outputs of its items in order; those of a plugin have no ids."""
        _log_truncation(items, outputs)
        if self.is_plugin:
            return [call.output(**vars(output)) for output in self._joined(items, outputs)]
        for output in outputs:
            output.request_id = output.request_id or str(next(self._ids))
        joined = outputs if self._old is None else self._joined(items, outputs)
        return [call.retyped(output) for output in joined]

    def _joined(
        self, items: Items, outputs: Sequence[PoolingRequestOutput[Any]]
    ) -> Sequence[PoolingRequestOutput[Any]]:
        return outputs if self._old is None else self._old.joined([item.data for item in items], outputs)

    def _output(self, place: int, work: Work, decoded: object) -> PoolingRequestOutput[Any]:
        error = decoded if isinstance(decoded, MillpondError) else None
        return PoolingRequestOutput(
            request_id=work.request_id,
            outputs=None if error is not None else decoded,
            prompt_token_ids=[] if self.is_plugin else work.prompt_token_ids,
            error=None if error is None else _located(error, place),
            num_dropped_tokens=work.num_dropped_tokens,
        )

    def _with_own(
        self, each: Sequence[object], params: object, options: Mapping[str, object], *, raises: bool
    ) -> list[Item]:
        """The items, each with its own parameters."""
        if isinstance(params, str | Mapping) or not isinstance(params, Sequence):
            message = f"pooling_params must be PoolingParams, or a list of them; got {type(params).__name__}"
            raise InvalidInputError(message, parameter="pooling_params")
        if len(params) != len(each):
            message = f"The lengths of prompts ({len(each)}) and params ({len(params)}) must be the same."
            raise InvalidInputError(message, parameter="pooling_params")
        completed: dict[int, Asked] = {}
        items: list[Item] = []
        for index, (data, own) in enumerate(zip(each, params, strict=True)):
            try:
                if id(own) not in completed:
                    completed[id(own)] = self._completed(own, options)
                items.append(Item(data, completed[id(own)]))
            except InvalidInputError as error:
                if raises:
                    raise error.at(index) from None
                items.append(Item(Refused(error), Asked(PoolingParams())))
        return items

    def _completed(self, params: object, options: Mapping[str, object]) -> Asked:
        if params is not None and not isinstance(params, PoolingParams):
            message = f"pooling_params must be PoolingParams; got {type(params).__name__}"
            raise InvalidInputError(message, parameter="pooling_params")
        if params is not None and params.task not in (None, self.name, self.processor.derived_from):
            message = f"You cannot overwrite param.task={params.task!r} with pooling_task={self.name!r}!"
            raise InvalidInputError(message, parameter="pooling_task")
        asked = checks.complete(self.contract, self._read(params, options))
        if not self._cuts_left or asked.params.truncation_side is not None:
            return asked
        return replace(asked, params=asked.params.model_copy(update={"truncation_side": "left"}))

    def check_keywords(self, options: Mapping[str, object]) -> None:
        """Refuse keywords that neither every call nor this task takes.

        Raises:
            TypeError: If there is one; names the one that may be meant.
        """
        known = self._read.names
        wrong = next((name for name in options if name not in known and name not in CALL_OPTIONS), None)
        if wrong is not None:
            raise unknown_keyword(wrong, (*known, *CALL_OPTIONS))

    def _unwrapped(self, items: Items) -> list[Item]:
        """The data of items of the form ``{"data": ...}``."""
        found: list[Item] = []
        for data, asked in items:
            try:
                found.append(Item(data if isinstance(data, Refused) else plugin_data(data), asked))
            except InvalidInputError as error:
                found.append(Item(Refused(error), asked))
        return found


def output_of(entry: "Entry[TaskSpec]") -> type[PoolingRequestOutput[Any]]:
    """Return the type of the outputs of a task's method.

    Raises:
        UnknownNameError: If the record names what cannot be imported.
        PluginError: If it names something else than a subclass of PoolingRequestOutput.
    """
    if entry.spec.output is None:
        return PoolingRequestOutput
    kind = entry.load("output")
    if not (isinstance(kind, type) and issubclass(kind, PoolingRequestOutput)):
        raise PluginError(f"{entry.label}: its output must be a subclass of PoolingRequestOutput; got {kind!r:.80}")
    return kind


def equal_prompts(items: Items) -> dict[int, list[int]]:
    """Return the places of equal texts, or pairs, with the same parameters, by the first; others stand alone."""
    first: dict[tuple[object, int], int] = {}
    places: dict[int, list[int]] = {}
    for place, (data, asked) in enumerate(items):
        key = _key(data)
        leader = place if key is None else first.setdefault((key, id(asked)), place)
        places.setdefault(leader, []).append(place)
    return places


def copy_of(request: PoolingRequest) -> PoolingRequest:
    """Return the request with results of its own: writing to them must not change those of another output."""
    return replace(request, results=[array.copy() for array in request.results])


def _key(data: object) -> object:
    """The value that equal prompts have in common; None if that is not known."""
    text = data.get("prompt") if isinstance(data, Mapping) and len(data) == 1 else data
    return text if isinstance(text, str | PairItem) else None


def _at_place(job: Job, place: int) -> Work:
    """The work of a job; for another place of the call, with copies of its results."""
    work = job.work
    if place == job.index or work.error is not None:
        return work
    return replace(work, sequences=tuple([copy_of(sequence) for sequence in work.sequences]))


def _error_of(work: Work) -> MillpondError | None:
    for sequence in work.sequences:
        if sequence.error is not None:
            return sequence.error
    return None


def _located(error: MillpondError, index: int) -> MillpondError:
    """The error with the place of its prompt."""
    if isinstance(error, InvalidInputError) and error.index != index:
        return error.at(index)
    if isinstance(error, ComponentError) and not str(error).startswith("prompt "):
        return error.at(index)
    if isinstance(error, EngineError) and not str(error).startswith("prompt "):
        located = type(error)(f"prompt {index}: {error}")
        located.__cause__ = error.__cause__
        return located
    return error


def _log_truncation(items: Items, outputs: Sequence[PoolingRequestOutput[Any]]) -> None:
    """Log, once a call, that prompts were cut for which no length was asked."""
    dropped = [
        output.num_dropped_tokens
        for output, item in zip(outputs, items, strict=True)
        if output.num_dropped_tokens
        and item.asked.params.on_overflow == "truncate"
        and item.asked.params.truncate_prompt_tokens is None
    ]
    if dropped:
        logger.warning(
            "on_overflow='truncate': %d of %d prompts were longer than the model reads and cut; %d tokens were dropped",
            len(dropped),
            len(items),
            sum(dropped),
        )


def _cuts_left(ctx: "ModelContext") -> bool:
    """True if the model's tokenizer cuts tokens from the left unless a call specifies a side."""
    return ctx.tokenizer is not None and ctx.tokenizer.truncation_side == "left"
