"""Calls of an IO processor by the pipeline: a failure affects one item only, and return values are checked.

Every ``BaseException`` except ``KeyboardInterrupt`` counts as a failure: a panic in a Rust library is not an
``Exception``, and if it ended a thread, callers would wait forever.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.plugin.blame import component_error, described, is_foreign, owner_of
from millpond.types.errors import ComponentError, MillpondError, quoted
from millpond.types.outputs import PoolingOutput
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millpond.context import ModelContext

INT64_BYTES = 8
TEXT_GROUP = "text"  # sequences of other groups, such as images, may have more tokens than a text
Processor = IOProcessor[Any]
T = TypeVar("T")
A = TypeVar("A")


class Limits(NamedTuple):
    """The limits of a model's input.

    Attributes:
        tasks: The tasks that the model has poolers for.
        vocab_size: The number of token ids; None if unknown.
        max_model_len: The maximum number of tokens of a request; None for no limit.
        exempts_groups: True if the limits hold for texts only: images of a built-in IO processor may be longer.
    """

    tasks: Sequence[str]
    vocab_size: int | None = None
    max_model_len: int | None = None
    exempts_groups: bool = False


HINT = ". It should raise InvalidInputError for input that it does not support"
NO_IDS = (
    "a request must have one token for each row that the model computes, and at least one; its input_ids are empty. "
    "For a model that reads only features, the ids may be zeros"
)


def limits_of(processor: Processor) -> Limits:
    """Return the limits of an IO processor's model; with routes, the largest of theirs."""
    ctx: ModelContext = processor.ctx
    contexts = [ctx, *(route for _, route in ctx.routes.values())]
    sizes = [one.config.get("vocab_size", one.config.of_text.get("vocab_size")) for one in contexts]
    lengths = [one.model.max_model_len for one in contexts]
    return Limits(
        ctx.tasks,
        max(sizes) if all(isinstance(size, int) for size in sizes) else None,
        None if None in lengths else max(lengths),
        exempts_groups=not is_foreign(owner_of(processor)),
    )


def run_step(processor: Processor, step: str, run: Callable[[A], T], argument: A) -> T:
    """Return the result of a method of an IO processor.

    Raises:
        MillpondError: If the method raises an exception; another exception is wrapped in one that names the processor.
    """
    try:
        return run(argument)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, step, error) from error


def encoded(processor: Processor, call: Call, limits: Limits) -> list[Job]:
    """Return the job of each prompt of a call; jobs that violate the contract are replaced by errors.

    If encoding all at once fails, each prompt is encoded alone.
    """
    expected = len(call.prompts)
    try:
        results: Sequence[object] = list(islice(processor.encode(call), expected + 1))  # they may never end
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
        if expected == 1:
            return [Job(error=failure(processor, "encode", error))]
        return [job for prompt in call.prompts for job in encoded(processor, replace(call, prompts=[prompt]), limits)]
    if len(results) != expected:
        miscounted = _miscounted(processor, "encode must return one Job per item", expected, len(results))
        return [Job(error=miscounted)] * expected
    limited_ids: list[NDArray[np.int64]] = []
    jobs = [_checked(processor, result, limits, limited_ids) for result in results]
    # All ids at once, because a check of each sequence takes microseconds.
    if limits.vocab_size is None or _are_known(limited_ids, limits.vocab_size):
        return jobs
    return [_with_known_ids(processor, job, limits, limits.vocab_size) for job in jobs]


def decoded(processor: Processor, jobs: Sequence[Job]) -> list[Any]:
    """Return the output of each job, or its error. If decoding all at once fails, each job is decoded alone."""
    try:
        outputs: list[Any] = list(islice(processor.decode_many(jobs), len(jobs) + 1))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  as above
        if len(jobs) == 1:
            return [failure(processor, "decode", error)]
        return [output for job in jobs for output in decoded(processor, [job])]
    if len(outputs) == len(jobs):
        return outputs
    return [_miscounted(processor, "decode_many must return one output per job", len(jobs), len(outputs))] * len(jobs)


def converted(processor: Processor, output: object, content: type) -> object:
    """Return an output as the type of the task's record; an error if it cannot be converted."""
    if isinstance(output, PoolingOutput) and issubclass(content, PoolingOutput):
        with suppress(ValueError):
            return content.from_base(output)
    task = processor.ctx.task
    message = f"decode returned {described(output)} for the task {task!r}; expected {_shown(content)}"
    return breach(processor, message)


def failure(processor: Processor, step: str, error: BaseException) -> MillpondError:
    """Return a Millpond error unchanged, and any other error wrapped in one that names the IO processor."""
    if isinstance(error, MillpondError):
        return error
    hint = "" if step == "decode" else HINT
    failed = f"the {_name(processor)} failed in {step}"
    message = f"{failed}: {quoted(error)}{hint}"
    wrapped = component_error(owner_of(processor), message, public=failed)
    wrapped.__cause__ = error
    return wrapped


def unwritable(processor: Processor, error: TypeError) -> ComponentError:
    """Return the error for an output that cannot be serialized as JSON; it names the IO processor."""
    message = f"the output of the {_name(processor)} cannot be written as JSON: {error}"
    return component_error(owner_of(processor), message, public=message)


def _miscounted(processor: Processor, rule: str, expected: int, returned: int) -> ComponentError:
    """Return the error of an IO processor that returned too few or too many results."""
    noun = rule.rpartition(" ")[2]
    shown = "more" if returned > expected else returned
    return breach(processor, f"{rule}; for {expected} {noun}s it returned {shown}")


def _checked(processor: Processor, job: object, limits: Limits, limited_ids: "list[NDArray[np.int64]]") -> Job:
    """Return a job of ``encode``, or its error; ``limited_ids`` receives the ids that must be in the vocabulary."""
    if isinstance(job, MillpondError):
        return Job(error=job)
    if not isinstance(job, Job):
        return Job(error=breach(processor, f"encode must return a list of Job; it contains {type(job).__name__}"))
    if job.error is not None:
        return job
    sequences: Any = job.sequences
    for sequence in sequences if isinstance(sequences, tuple) else (None,):
        if not isinstance(sequence, PoolingRequest):
            message = f"the sequences of a Job must be a tuple of PoolingRequest; got {sequences!r:.80}"
            return Job(error=breach(processor, message))
        fault = _fault(sequence, limits)
        if fault is not None:
            return Job(error=breach(processor, fault))
        if sequence.group == TEXT_GROUP or not limits.exempts_groups:
            limited_ids.append(sequence.input_ids)
    return job


def _fault(request: PoolingRequest, limits: Limits) -> str | None:
    """Return why the engine does not accept a request, or how it exceeds the limits; None if it is valid."""
    ids: Any = request.input_ids
    if not _is_ids(ids):
        return f"a request's input_ids must be a numpy array [num_tokens] of int64; got {_described(ids)}"
    num_tokens = len(ids)
    if num_tokens == 0:
        return NO_IDS
    types: Any = request.token_type_ids
    if types is not None and (not _is_ids(types) or len(types) != num_tokens):
        return f"token_type_ids must be like input_ids, int64 [{num_tokens}], or None; got {_described(types)}"
    for representation in request.representations:
        fault = _fault_of(representation, num_tokens, limits.tasks)
        if fault is not None:
            return fault
    if limits.max_model_len is None or num_tokens <= limits.max_model_len:
        return None
    is_exempt = limits.exempts_groups and request.group != TEXT_GROUP
    return None if is_exempt else f"a request has {num_tokens} tokens; the model reads at most {limits.max_model_len}"


def _are_known(ids: "list[NDArray[np.int64]]", size: int) -> bool:
    """Return True if all ids are in a vocabulary."""
    import numpy as np

    if not ids:
        return True
    joined = ids[0] if len(ids) == 1 else np.concatenate(ids)
    return bool(joined.view(np.uint64).max() < size)  # a negative id is larger than any size


def _with_known_ids(processor: Processor, job: Job, limits: Limits, size: int) -> Job:
    """Return a job, or the error of its first token id that is not in the vocabulary."""
    for sequence in job.sequences:
        ids, is_exempt = sequence.input_ids, limits.exempts_groups and sequence.group != TEXT_GROUP
        if not is_exempt and not _are_known([ids], size):
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            message = f"token id {bad} is not in the vocabulary: ids go from 0 to {size - 1}"
            return Job(error=breach(processor, message))
    return job


def _fault_of(item: object, num_tokens: int, tasks: Sequence[str]) -> str | None:
    if not isinstance(item, Representation) or not isinstance(item.params, PoolingParams):
        return f"a request's representations must be Representation(task, params, span); got {item!r}"
    if item.task not in tasks:
        return f"a representation names the task {item.task!r}, for which the model has no pooler; it has: {tasks}"
    if item.span is None or 0 <= item.span[0] < item.span[1] <= num_tokens:
        return None
    return f"a representation names the span {item.span}, but the request has {num_tokens} tokens"


def _is_ids(ids: Any) -> bool:
    dtype = getattr(ids, "dtype", None)
    kind, size = getattr(dtype, "kind", None), getattr(dtype, "itemsize", None)
    return kind == "i" and size == INT64_BYTES and getattr(ids, "ndim", None) == 1


def _described(ids: Any) -> str:
    shape, dtype = getattr(ids, "shape", None), getattr(ids, "dtype", None)
    return type(ids).__name__ if dtype is None or shape is None else f"{type(ids).__name__} {list(shape)} of {dtype}"


def breach(processor: Processor, message: str) -> ComponentError:
    """Return the error of an IO processor that violates its contract."""
    broke = f"the {_name(processor)} broke its contract: {message}"
    return component_error(owner_of(processor), broke, public=broke)


def _shown(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _name(processor: Processor) -> str:
    owner = owner_of(processor)
    return owner.label if owner is not None else f"IO processor {_shown(type(processor))}"
