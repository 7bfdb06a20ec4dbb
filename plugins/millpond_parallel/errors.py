"""Errors that cross the boundary of a process: same type, message and cause, with the traceback as a note."""

import pickle
import traceback
from typing import NamedTuple

from millpond.types.errors import MillpondError


class EngineProcessError(RuntimeError):
    """An engine process ended while it computed a batch."""


class PackedError(NamedTuple):
    """An exception.

    Attributes:
        data: The pickled exception; None if it cannot be pickled.
        type_name: The name of its type.
        message: Its message.
        cause: The exception that caused it.
        trace: The formatted traceback; empty for errors of Millpond, whose messages state the problem.
    """

    data: bytes | None
    type_name: str
    message: str
    cause: "PackedError | None"
    trace: str


def pack_error(error: BaseException) -> PackedError:
    """Return the message of an exception."""
    cause = error.__cause__
    is_own = isinstance(error, MillpondError) and cause is None
    return PackedError(
        data=_pickled(error),
        type_name=type(error).__name__,
        message=str(error),
        cause=None if cause is None else pack_error(cause),
        trace="" if is_own else "".join(traceback.format_exception(error, chain=False)),
    )


def unpack_error(packed: PackedError) -> BaseException:
    """Return the exception of a message. An exception that cannot be pickled has another type of the same name."""
    error: BaseException | None = None
    if packed.data is not None:
        try:
            error = pickle.loads(packed.data)  # noqa: S301  from an engine process of this program
        except Exception:  # noqa: BLE001  its type exists in the engine process alone
            error = None
    if error is None:
        error = type(packed.type_name, (RuntimeError,), {})(packed.message)
    if packed.cause is not None:
        error.__cause__ = unpack_error(packed.cause)
    if packed.trace:
        error.add_note(f"In the engine process:\n{packed.trace.rstrip()}")
    return error


def _pickled(error: BaseException) -> bytes | None:
    """Return an exception as a pickle; None if it would not be the same after loading."""
    try:
        data = pickle.dumps(error)
        loaded = pickle.loads(data)  # noqa: S301  written one line above
    except Exception:  # noqa: BLE001  exceptions of plugins may do anything
        return None
    return data if type(loaded) is type(error) and str(loaded) == str(error) else None
