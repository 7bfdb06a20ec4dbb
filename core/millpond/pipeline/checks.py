"""Calls of an IO processor by the pipeline: a failure affects one item only, and return values are checked.

Every ``BaseException`` except ``KeyboardInterrupt`` counts as a failure: a panic in a Rust library is not an
``Exception``, and if it ended a thread, callers would wait forever.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Work
from millpond.plugin.blame import component_error, described, owner_of
from millpond.types.errors import ComponentError, MillpondError, quoted
from millpond.types.outputs import PoolingOutput
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import ModelContext

INT64_BYTES = 8
Processor = IOProcessor[Any]
V = TypeVar("V")


class Limits(NamedTuple):
    """The limits of a model's input.

    Attributes:
        vocab_size: The number of token ids; None if unknown.
        max_model_len: The maximum number of tokens of a request; None for no limit.
    """

    vocab_size: int | None = None
    max_model_len: int | None = None


NO_LIMITS = Limits()
HINT = ". It should raise InvalidInputError for input that it does not support"


def limits_of(ctx: "ModelContext") -> Limits:
    """Return the limits of a model, for sequences of third-party IO processors."""
    size = ctx.config.get("vocab_size", ctx.config.of_text.get("vocab_size"))
    return Limits(size if isinstance(size, int) else None, ctx.model.max_model_len)


def complete(processor: Processor, asked: Asked) -> Asked:
    """Return the parameters and options as completed by the IO processor.

    Raises:
        MillpondError: If it refuses them, fails, or returns another type.
    """
    try:
        completed: object = processor.complete(asked)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, "complete", error) from error
    if not isinstance(completed, Asked):
        raise breach(processor, f"complete must return Asked; it returned {type(completed).__name__}")
    return completed


def listed(values: Iterable[V], expected: int) -> list[V]:
    """Return the values that a plugin yields, and at most one more than expected: they may never end."""
    return list(islice(values, expected + 1))


def encode_each(processor: Processor, call: Call, error: BaseException) -> list[Work]:
    """Encode each item alone, after encoding all at once failed with an error; a failing item becomes its error."""
    if len(call.items) == 1:
        return [Work(error=failure(processor, "encode", error))]
    works: list[Work] = []
    for item in call.items:
        alone = Call([item], call.shared)
        try:
            encoded = listed(processor.encode(alone), 1)
        except KeyboardInterrupt:
            raise
        except BaseException as item_error:  # noqa: BLE001  the errors of a plugin are not known
            encoded = encode_each(processor, alone, item_error)
        works += encoded if len(encoded) == 1 else _wrong_number_of_works(processor, alone, encoded)
    return works


def checked(processor: Processor, call: Call, works: Sequence[Work], limits: Limits) -> list[Work]:
    """Return the works of a third-party IO processor; those that violate its contract are replaced by errors."""
    if len(works) != len(call.items):
        return _wrong_number_of_works(processor, call, works)
    return [_checked(processor, work, limits) for work in works]


def decode_each(processor: Processor, works: Sequence[Work], error: BaseException) -> list[object]:
    """Decode each work alone, after decoding all at once failed with an error; a failing work becomes its error."""
    if len(works) == 1:
        return [failure(processor, "decode", error)]
    outputs: list[object] = []
    for work in works:
        try:
            decoded = listed(processor.decode_many([work]), 1)
        except KeyboardInterrupt:
            raise
        except BaseException as work_error:  # noqa: BLE001  the errors of a plugin are not known
            decoded = decode_each(processor, [work], work_error)
        outputs += decoded if len(decoded) == 1 else wrong_count(processor, [work], len(decoded))
    return outputs


def wrong_count(processor: Processor, works: Sequence[Work], num_outputs: int) -> list[object]:
    """Return the errors of works for which ``decode_many`` returned another number of outputs."""
    returned = _count(num_outputs, len(works))
    message = f"decode_many must return one output per work; for {len(works)} works it returned {returned}"
    return [breach(processor, message)] * len(works)


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


def check_requests(
    processor: Processor, requests: Sequence[PoolingRequest], tasks: Sequence[str], limits: Limits
) -> ComponentError | None:
    """Return the error for requests that the engine does not accept or that exceed limits; None if all are valid."""
    faults = (_fault(request, tasks) or _fault_of_size(request, limits) for request in requests)
    fault = next((fault for fault in faults if fault is not None), None)
    return None if fault is None else breach(processor, fault)


def _wrong_number_of_works(processor: Processor, call: Call, works: Sequence[Work]) -> list[Work]:
    returned = _count(len(works), len(call.items))
    message = f"encode must return one Work per item; for {len(call.items)} items it returned {returned}"
    return [Work(error=breach(processor, message))] * len(call.items)


def _count(returned: int, expected: int) -> str:
    return "more" if returned > expected else str(returned)


def _checked(processor: Processor, work: object, limits: Limits) -> Work:
    if not isinstance(work, Work):
        return Work(error=breach(processor, f"encode must return a list of Work; it contains {type(work).__name__}"))
    if work.error is not None:
        return work
    sequences: object = work.sequences
    if not isinstance(sequences, tuple) or not all(isinstance(one, PoolingRequest) for one in sequences):
        message = f"the sequences of a Work must be a tuple of PoolingRequest; got {sequences!r:.80}"
        return Work(error=breach(processor, message))
    error = check_requests(processor, sequences, processor.ctx.tasks, limits)
    return work if error is None else Work(error=error)


def _fault(request: PoolingRequest, tasks: Sequence[str]) -> str | None:
    """Return why the engine does not accept a request; None if it does."""
    ids: Any = request.input_ids
    if not _is_ids(ids):
        return f"a request's input_ids must be a numpy array [num_tokens] of int64; got {_described(ids)}"
    if len(ids) == 0:
        return (
            "a request must have one token for each row that the model computes, and at least one; its input_ids are "
            "empty. For a model that reads only features, the ids may be zeros"
        )
    types: Any = request.token_type_ids
    if types is not None and (not _is_ids(types) or len(types) != len(ids)):
        return f"token_type_ids must be like input_ids, int64 [{len(ids)}], or None; got {_described(types)}"
    faults = (_fault_of(representation, len(ids), tasks) for representation in request.representations)
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_size(request: PoolingRequest, limits: Limits) -> str | None:
    """Return how a request exceeds the limits; None if it does not."""
    ids, max_len, size = request.input_ids, limits.max_model_len, limits.vocab_size
    if max_len is not None and len(ids) > max_len:
        return f"a request has {len(ids)} tokens; the model reads at most {max_len}"
    lowest, highest = (0, 0) if size is None else (int(ids.min()), int(ids.max()))
    if size is not None and (lowest < 0 or highest >= size):
        bad = lowest if lowest < 0 else highest
        return f"token id {bad} is not in the vocabulary: ids go from 0 to {size - 1}"
    return None


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
