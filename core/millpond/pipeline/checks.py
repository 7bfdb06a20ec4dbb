"""What stands between the pipeline and an IO processor: its failures cost one item, and its promises are checked.

Its failures are any ``BaseException`` but Ctrl-C: what panics in a library written in Rust is no ``Exception``, and a
thread that it ended would leave callers waiting.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import IOProcessor
from millpond.plugin.blame import component_error, is_foreign, owner_of
from millpond.types.errors import ComponentError, InvalidInputError, MillpondError
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import Context

BYTES = 8  # of an int64
Processor = IOProcessor[Any, Any]
Items = Sequence[tuple[Any, PoolingParams]]
Made = list[PoolingRequest] | MillpondError


class Limits(NamedTuple):
    """What a model can read.

    Attributes:
        vocab_size: The number of its token ids; None if it is not known.
        max_model_len: The maximum number of tokens of a request; None for any.
    """

    vocab_size: int | None = None
    max_model_len: int | None = None


NO_LIMITS = Limits()


def complete(processor: Processor, given: PoolingParams | None) -> PoolingParams:
    """The parameters as the IO processor completes them.

    Raises:
        MillpondError: If it refuses them, fails, or returns something else.
    """
    try:
        params: object = processor.pooling_params(given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, "pooling_params", error) from error
    if not isinstance(params, PoolingParams):
        raise _breach(processor, f"pooling_params must return PoolingParams; it returned {type(params).__name__}")
    return params


def parse(processor: Processor, data: object) -> Any:
    """What the IO processor makes of one item's data.

    Raises:
        MillpondError: If it refuses the item, or fails on it.
    """
    try:
        return processor.parse(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, "parse", error) from error


def split(processor: Processor, prompts: object) -> list[object]:
    """The items of a call as the IO processor splits it.

    Raises:
        MillpondError: If it refuses the call, or fails on it.
    """
    with _guarded(processor, "split"):
        return list(processor.split(prompts))


def join(processor: Processor, items: Sequence[object], outputs: Sequence[Any]) -> list[Any]:
    """The outputs of a call as the IO processor joins those of its items.

    Raises:
        MillpondError: If it fails.
    """
    with _guarded(processor, "join"):
        return list(processor.join(items, list(outputs)))


def limits_of(ctx: "Context") -> Limits:
    """The limits of a model, for requests of IO processors that are not built in."""
    size = ctx.config.get("vocab_size", ctx.config.of_text.get("vocab_size"))
    return Limits(size if isinstance(size, int) else None, ctx.model.max_model_len)


def make_requests(processor: Processor, items: Items, tasks: Sequence[str], limits: Limits = NO_LIMITS) -> list[Made]:
    """The requests of each item; where all at once fail, each alone, so that an item at fault costs no other.

    Args:
        processor: The IO processor.
        items: What it has parsed, with parameters.
        tasks: Those for which the model has poolers.
        limits: What the model can read; the built-in IO processors keep to it by themselves.
    """
    if not is_foreign(owner_of(processor)):
        limits = NO_LIMITS
    try:
        made = list(processor.pre_process_many(items))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  what a plugin fails by is not known
        if len(items) > 1:
            return [one for item in items for one in make_requests(processor, [item], tasks, limits)]
        return [failure(processor, "pre_process", error)]
    if len(made) != len(items):
        message = f"pre_process_many must return a list an item; of {len(items)} items it returned {len(made)}"
        return [_breach(processor, message)] * len(items)
    return [_checked(processor, requests, tasks, limits) for requests in made]


def make_output(processor: Processor, requests: Sequence[PoolingRequest]) -> object:
    """What the IO processor makes of an item's requests, which carry results.

    Raises:
        MillpondError: If it fails.
    """
    try:
        return processor.post_process(requests)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, "post_process", error) from error


def failure(processor: Processor, step: str, error: BaseException) -> MillpondError:
    """An error as the front doors may show it: one of Millpond's own as it is, any other with its origin."""
    if isinstance(error, MillpondError):
        return error
    hint = "" if step == "post_process" else ". What it cannot serve it should refuse by an InvalidInputError"
    failed = f"the {_name(processor)} failed in {step}"
    message = f"{failed}: {type(error).__name__}: {error}{hint}"
    wrapped = component_error(owner_of(processor), message, public=failed)
    wrapped.__cause__ = error
    return wrapped


def unwritable(processor: Processor, error: TypeError) -> ComponentError:
    """The error of an output that JSON has no form for; names the IO processor that made it."""
    message = f"the output of the {_name(processor)} cannot be written as JSON: {error}"
    return component_error(owner_of(processor), message, public=message)


@contextmanager
def _guarded(processor: Processor, step: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failure(processor, step, error) from error


def _checked(processor: Processor, made: object, tasks: Sequence[str], limits: Limits) -> Made:
    if isinstance(made, InvalidInputError):
        return made
    if not isinstance(made, list | tuple) or not all(isinstance(request, PoolingRequest) for request in made):
        of = f" of {', '.join(sorted({type(one).__name__ for one in made}))}" if isinstance(made, list | tuple) else ""
        message = f"pre_process must return a list of PoolingRequest; it returned a {type(made).__name__}{of}"
        return _breach(processor, message)
    faults = (_fault(request, tasks) or _fault_of_size(request, limits) for request in made)
    fault = next((fault for fault in faults if fault is not None), None)
    return list(made) if fault is None else _breach(processor, fault)


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


def _breach(processor: Processor, message: str) -> ComponentError:
    broke = f"the {_name(processor)} broke its contract: {message}"
    return component_error(owner_of(processor), broke, public=broke)


def _name(processor: Processor) -> str:
    owner = owner_of(processor)
    return owner.label if owner is not None else f"IO processor {_class_of(processor)}"


def _class_of(processor: Processor) -> str:
    return f"{type(processor).__module__}.{type(processor).__qualname__}"
