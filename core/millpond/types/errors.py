"""The errors that Millpond raises; messages state the request, the available alternatives and the solution."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# In messages of RuntimeErrors that torch and Triton raise: for CPU memory, page-locked memory, and memory of libraries.
OUT_OF_MEMORY_TEXTS = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
)
# Errors of CUDA after which a process cannot use the device again, and the starts of messages of torch and Triton.
CUDA_PREFIXES = ("CUDA error: ", "Triton Error [CUDA]: ")
DEVICE_LOST_TEXTS = (
    "an illegal memory access",
    "an illegal instruction",
    "device-side assert",
    "hardware stack error",
    "invalid program counter",
    "misaligned address",
    "operation not supported on global/shared address space",
    "the launch timed out",
    "uncorrectable ECC error",
    "unspecified launch failure",
)


MAX_QUOTED_CHARS = 2000  # in a message that contains the text of an exception


class MillpondError(Exception):
    """Base class of the errors that Millpond raises."""


class PluginError(MillpondError):
    """A plugin violated its contract; raised by registration in Python, and by strict loading of plugins."""


class UnknownNameError(MillpondError, LookupError):
    """A name that no plugin or more than one plugin provides, or whose target cannot be imported."""


class CheckpointError(MillpondError, ValueError):
    """A model's files are missing, damaged, or contradict each other."""


class ModelNotFoundError(CheckpointError, FileNotFoundError):
    """No source has a model with this name."""


class InvalidInputError(MillpondError, ValueError):
    """Invalid input of the caller.

    Attributes:
        index: The index of the prompt in the call, from 0; None if the error concerns the whole call.
        parameter: The name of the invalid parameter, if known.
    """

    def __init__(self, message: str, *, index: int | None = None, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.parameter = parameter

    def __str__(self) -> str:
        return self.message if self.index is None else f"prompt {self.index}: {self.message}"

    def at(self, index: int) -> "InvalidInputError":
        """Return a copy of the error with the index of the prompt in the call."""
        located = type(self)(self.message, index=index, parameter=self.parameter)
        located.__cause__ = self.__cause__
        return located


class SpaceMismatchError(InvalidInputError):
    """The embeddings of a model cannot be compared with those that the caller has: see ``expect_space``."""


class MissingDependencyError(InvalidInputError):
    """An optional package is required for the input; the message contains the command that installs it."""


class EngineError(MillpondError, RuntimeError):
    """The model failed on a request; other requests are not affected."""


class ComponentError(EngineError, PluginError):
    """A component of a plugin failed on a request, or returned a value that violates its contract.

    Attributes:
        plugin: The name of the plugin; empty if unknown.
        kind: The kind of the component, such as ``"pooler"``.
        name: The name of the component.
        public: The message without the text of the original exception, for clients of a server.
    """

    def __init__(self, message: str, *, plugin: str = "", kind: str = "", name: str = "", public: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.kind = kind
        self.name = name
        self.public = public or message

    def at(self, index: int) -> "ComponentError":
        """Return a copy of the error with the index of the prompt in the call."""
        located = type(self)(
            f"prompt {index}: {self}", plugin=self.plugin, kind=self.kind, name=self.name, public=self.public
        )
        located.__cause__ = self.__cause__
        return located


class NonFiniteOutputError(EngineError):
    """The model computed NaN or infinity for a request."""


class InsufficientMemoryError(EngineError):
    """There was not enough memory for a request, even alone in a batch."""


class BlockedInputError(EngineError):
    """The model failed on this input recently; it is refused for some time."""


class EngineOverloadedError(EngineError):
    """Too many tokens are waiting: try again later, or raise ``max_waiting_tokens``.

    Attributes:
        retry_after: The estimated number of seconds until the request can be accepted; None if unknown.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineClosedError(EngineError):
    """The engine was closed before or while the request waited."""


class RequestCancelledError(EngineError):
    """The request was cancelled by its caller before it ran."""


def located(error: MillpondError, index: int) -> MillpondError:
    """Return the error of a call with the index of its prompt."""
    if isinstance(error, InvalidInputError) and error.index != index:
        return error.at(index)
    if isinstance(error, ComponentError) and not str(error).startswith("prompt "):
        return error.at(index)
    if isinstance(error, EngineError) and not str(error).startswith("prompt "):
        located = type(error)(f"prompt {index}: {error}")
        located.__cause__ = error.__cause__
        return located
    return error


def quoted(error: BaseException) -> str:
    """Return the type and the text of an exception that may be from a plugin: its text may fail or be very long."""
    text = _text(error)
    end = "" if len(text) <= MAX_QUOTED_CHARS else f"... ({len(text)} characters)"
    return f"{type(error).__name__}: {text[:MAX_QUOTED_CHARS]}{end}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001  a plugin's exception may raise anything
        return f"its text cannot be read ({type(failure).__name__})"


def first_names(names: "Collection[str]", maximum: int) -> str:
    """Return names for a message: at most a maximum, and how many more there are."""
    more = f" and {len(names) - maximum} more" if len(names) > maximum else ""
    return f"{', '.join(list(names)[:maximum])}{more}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that device or host memory was exhausted. Does not import torch."""
    is_torch = any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
    return is_torch or isinstance(error, MemoryError) or any(text in _text(error) for text in OUT_OF_MEMORY_TEXTS)


def is_device_lost(error: BaseException) -> bool:
    """Return True if an error means that this process cannot use the device again. Does not import torch."""
    starts = tuple(f"{prefix}{text}" for prefix in CUDA_PREFIXES for text in DEVICE_LOST_TEXTS)
    # Only the start of a message: the rest may contain text of a request, which must not stop the engine.
    return any(isinstance(it, RuntimeError) and _text(it).startswith(starts) for it in (error, error.__cause__))
