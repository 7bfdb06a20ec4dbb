"""Calls of an IO processor by the pipeline: a failure affects one item only, and return values are checked.

Every ``BaseException`` except ``KeyboardInterrupt`` counts as a failure: a panic in a Rust library is not an
``Exception``, and if it ended a thread, callers would wait forever.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
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

    def hold_for(self, request: PoolingRequest) -> bool:
        """Return True if the limits of length and vocabulary hold for a request."""
        return request.group == TEXT_GROUP or not self.exempts_groups


HINT = ". It should raise InvalidInputError for input that it does not support"
EXPECTED = {"encode": ("encode", "Job", "item"), "decode": ("decode_many", "output", "job")}


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


def run_each(
    processor: Processor, step: str, run: Callable[[Sequence[A]], Iterable[T]], inputs: Sequence[A]
) -> list[T | MillpondError]:
    """Return one result for each input, or its error. If all inputs at once fail, each is run alone.

    Args:
        processor: The IO processor.
        step: "encode" or "decode".
        run: The method of the IO processor, for several inputs. Its results may never end.
        inputs: The items, or the jobs.
    """
    try:
        results: list[T | MillpondError] = list(islice(run(inputs), len(inputs) + 1))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
        if len(inputs) == 1:
            return [failure(processor, step, error)]
        return [result for alone in inputs for result in run_each(processor, step, run, [alone])]
    if len(results) == len(inputs):
        return results
    method, result, noun = EXPECTED[step]
    returned = "more" if len(results) > len(inputs) else len(results)
    message = f"{method} must return one {result} per {noun}; for {len(inputs)} {noun}s it returned {returned}"
    return [breach(processor, message)] * len(inputs)


def encoded(processor: Processor, call: Call, limits: Limits) -> list[Job]:
    """Return the job of each item of a call; jobs that violate the contract are replaced by errors."""

    def encode(items: Sequence[Any]) -> Sequence[object]:
        return processor.encode(call if items is call.items else Call(items, call.shared))

    jobs = [_checked(processor, job, limits) for job in run_each(processor, "encode", encode, call.items)]
    size = limits.vocab_size
    # All at once, because a check of each sequence takes microseconds.
    if size is None or _are_known([ids for job in jobs for ids in _limited_ids(job, limits)], size):
        return jobs
    return [_with_known_ids(processor, job, limits, size) for job in jobs]


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


def _checked(processor: Processor, job: object, limits: Limits) -> Job:
    if isinstance(job, MillpondError):
        return Job(error=job)
    if not isinstance(job, Job):
        return Job(error=breach(processor, f"encode must return a list of Job; it contains {type(job).__name__}"))
    if job.error is not None:
        return job
    sequences: object = job.sequences
    if not isinstance(sequences, tuple) or not all(isinstance(one, PoolingRequest) for one in sequences):
        message = f"the sequences of a Job must be a tuple of PoolingRequest; got {sequences!r:.80}"
        return Job(error=breach(processor, message))
    for sequence in sequences:
        fault = _fault(sequence, limits)
        if fault is not None:
            return Job(error=breach(processor, fault))
    return job


def _fault(request: PoolingRequest, limits: Limits) -> str | None:
    """Return why the engine does not accept a request, or how it exceeds the limits; None if it is valid."""
    ids: Any = request.input_ids
    if not _is_ids(ids):
        return f"a request's input_ids must be a numpy array [num_tokens] of int64; got {_described(ids)}"
    num_tokens = len(ids)
    if num_tokens == 0:
        return (
            "a request must have one token for each row that the model computes, and at least one; its input_ids are "
            "empty. For a model that reads only features, the ids may be zeros"
        )
    types: Any = request.token_type_ids
    if types is not None and (not _is_ids(types) or len(types) != num_tokens):
        return f"token_type_ids must be like input_ids, int64 [{num_tokens}], or None; got {_described(types)}"
    for representation in request.representations:
        fault = _fault_of(representation, num_tokens, limits.tasks)
        if fault is not None:
            return fault
    if limits.max_model_len is not None and num_tokens > limits.max_model_len and limits.hold_for(request):
        return f"a request has {num_tokens} tokens; the model reads at most {limits.max_model_len}"
    return None


def _limited_ids(job: Job, limits: Limits) -> "list[NDArray[np.int64]]":
    """Return the token ids that must be in the vocabulary."""
    return [sequence.input_ids for sequence in job.sequences if limits.hold_for(sequence)]


def _are_known(ids: "list[NDArray[np.int64]]", size: int) -> bool:
    """Return True if all ids are in a vocabulary."""
    import numpy as np

    if not ids:
        return True
    joined = ids[0] if len(ids) == 1 else np.concatenate(ids)
    return bool(joined.view(np.uint64).max() < size)  # a negative id is larger than any size


def _with_known_ids(processor: Processor, job: Job, limits: Limits, size: int) -> Job:
    """Return a job, or the error of its first token id that is not in the vocabulary."""
    for ids in _limited_ids(job, limits):
        if not _are_known([ids], size):
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
