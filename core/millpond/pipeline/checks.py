"""Calls of an IO processor by the pipeline: a failure costs one item, and what it returns is checked.

A failure is any ``BaseException`` but Ctrl-C: a panic in a library written in Rust is not an ``Exception``, and a
thread that it ended would leave callers waiting.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Work
from millpond.plugin.blame import component_error, is_foreign, owner_of
from millpond.types.errors import ComponentError, MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import ModelContext

BYTES = 8  # of an int64
Processor = IOProcessor[Any]


class Limits(NamedTuple):
    """What a model can read.

    Attributes:
        vocab_size: The number of its token ids; None if it is not known.
        max_model_len: The maximum number of tokens of a request; None for any.
    """

    vocab_size: int | None = None
    max_model_len: int | None = None


NO_LIMITS = Limits()
HINT = ". What it cannot serve it should refuse by an InvalidInputError"


def limits_of(ctx: "ModelContext") -> Limits:
    """The limits of a model, for sequences of IO processors that are not built in."""
    size = ctx.config.get("vocab_size", ctx.config.of_text.get("vocab_size"))
    return Limits(size if isinstance(size, int) else None, ctx.model.max_model_len)


def items_of(processor: Processor, prompts: object) -> list[object]:
    """The data of the items of a call.

    Raises:
        MillpondError: If the IO processor refuses the call, or fails on it.
    """
    try:
        return list(processor.items(prompts))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, "items", error) from error


def complete(processor: Processor, asked: Asked) -> Asked:
    """What is asked, as the IO processor completes it.

    Raises:
        MillpondError: If it refuses that, fails, or returns something else.
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


def encode(processor: Processor, call: Call, limits: Limits) -> list[Work]:
    """The work of each item; where all at once fail, each alone, so that an invalid item costs no other.

    Args:
        processor: The IO processor.
        call: The items.
        limits: What the model can read; built-in IO processors are not checked.
    """
    try:
        works = list(processor.encode(call))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
        if len(call.items) > 1:
            return [work for item in call.items for work in encode(processor, Call([item], call.shared), limits)]
        return [Work(error=failure(processor, "encode", error))]
    if not is_foreign(owner_of(processor)):
        return works
    if len(works) != len(call.items):
        message = f"encode must return one Work an item; of {len(call.items)} items it returned {len(works)}"
        return [Work(error=breach(processor, message))] * len(call.items)
    return [_checked(processor, work, limits) for work in works]


def decode(processor: Processor, works: Sequence[Work]) -> list[object]:
    """The outputs of works whose sequences carry results; in the place of one that fails, its error."""
    try:
        outputs: list[object] = list(processor.decode_many(works))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  the errors of a plugin are not known
        if len(works) > 1:
            return [output for work in works for output in decode(processor, [work])]
        return [failure(processor, "decode", error)]
    if len(outputs) != len(works):
        message = f"decode_many must return one output a work; of {len(works)} works it returned {len(outputs)}"
        return [breach(processor, message)] * len(works)
    return outputs


def failure(processor: Processor, step: str, error: BaseException) -> MillpondError:
    """An error as the front doors may show it: one of Millpond's own as it is, any other with its origin."""
    if isinstance(error, MillpondError):
        return error
    hint = (
        "" if step in ("decode", "post_process") else ". What it cannot serve it should refuse by an InvalidInputError"
    )
    failed = f"the {_name(processor)} failed in {step}"
    message = f"{failed}: {type(error).__name__}: {error}{hint}"
    wrapped = component_error(owner_of(processor), message, public=failed)
    wrapped.__cause__ = error
    return wrapped


def unwritable(processor: Processor, error: TypeError) -> ComponentError:
    """The error of an output that JSON has no form for; names the IO processor that made it."""
    message = f"the output of the {_name(processor)} cannot be written as JSON: {error}"
    return component_error(owner_of(processor), message, public=message)


def check_requests(
    processor: Processor, requests: Sequence[PoolingRequest], tasks: Sequence[str], limits: Limits
) -> ComponentError | None:
    """Return the error of requests that the engine cannot take, or that are out of the model's range."""
    faults = (_fault(request, tasks) or _fault_of_size(request, limits) for request in requests)
    fault = next((fault for fault in faults if fault is not None), None)
    return None if fault is None else breach(processor, fault)


def _checked(processor: Processor, made: object, limits: Limits) -> Work:
    if not isinstance(made, Work):
        return Work(error=breach(processor, f"encode must return a list of Work; it holds a {type(made).__name__}"))
    if made.error is not None:
        return made
    sequences: object = made.sequences
    if not isinstance(sequences, tuple) or not all(isinstance(one, PoolingRequest) for one in sequences):
        message = f"the sequences of a Work must be a tuple of PoolingRequest; got {sequences!r:.80}"
        return Work(error=breach(processor, message))
    error = check_requests(processor, sequences, processor.ctx.tasks, limits)
    return made if error is None else Work(error=error)


def _fault(request: PoolingRequest, tasks: Sequence[str]) -> str | None:
    """What of a request the engine cannot take; None if it can."""
    ids: Any = request.input_ids
    if not _is_ids(ids):
        return f"a request's input_ids must be a numpy array [num_tokens] of int64; got {_described(ids)}"
    if len(ids) == 0:
        return (
            "a request must have a token for each row that the model computes, and one at least; its input_ids are "
            "empty. Where the model reads features alone, the ids may be zeros"
        )
    types: Any = request.token_type_ids
    if types is not None and (not _is_ids(types) or len(types) != len(ids)):
        return f"token_type_ids must be like input_ids, int64 [{len(ids)}], or None; got {_described(types)}"
    wanted = (_fault_of(own, len(ids), tasks) for own in request.representations)
    return next((fault for fault in wanted if fault is not None), None)


def _fault_of_size(request: PoolingRequest, limits: Limits) -> str | None:
    """What of a request is out of the model's range; None if nothing is."""
    ids, longest, size = request.input_ids, limits.max_model_len, limits.vocab_size
    if longest is not None and len(ids) > longest:
        return f"a request has {len(ids)} tokens; the model reads at most {longest}"
    lowest, highest = (0, 0) if size is None else (int(ids.min()), int(ids.max()))
    if size is not None and (lowest < 0 or highest >= size):
        bad = lowest if lowest < 0 else highest
        return f"token id {bad} is not in the vocabulary: ids go from 0 to {size - 1}"
    return None


def _fault_of(wanted: object, num_tokens: int, tasks: Sequence[str]) -> str | None:
    if not isinstance(wanted, Representation) or not isinstance(wanted.params, PoolingParams):
        return f"a request's representations must be Representation(task, params, span); got {wanted!r}"
    if wanted.task not in tasks:
        return f"a request wants the task {wanted.task!r}, for which the model has no pooler; it has: {tasks}"
    if wanted.span is None or 0 <= wanted.span[0] < wanted.span[1] <= num_tokens:
        return None
    return f"a request of {num_tokens} tokens wants those of the span {wanted.span}"


def _is_ids(ids: Any) -> bool:
    dtype = getattr(ids, "dtype", None)
    kind, size = getattr(dtype, "kind", None), getattr(dtype, "itemsize", None)
    return kind == "i" and size == BYTES and getattr(ids, "ndim", None) == 1


def _described(ids: Any) -> str:
    shape, dtype = getattr(ids, "shape", None), getattr(ids, "dtype", None)
    return type(ids).__name__ if dtype is None or shape is None else f"{type(ids).__name__} {list(shape)} of {dtype}"


def breach(processor: Processor, message: str) -> ComponentError:
    """The error of an IO processor that returns something else than its contract states."""
    broke = f"the {_name(processor)} broke its contract: {message}"
    return component_error(owner_of(processor), broke, public=broke)


def _name(processor: Processor) -> str:
    owner = owner_of(processor)
    return owner.label if owner is not None else f"IO processor {_class_of(processor)}"


def _class_of(processor: Processor) -> str:
    return f"{type(processor).__module__}.{type(processor).__qualname__}"
