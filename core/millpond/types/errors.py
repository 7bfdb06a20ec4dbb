"""The errors Millpond raises on purpose; every one says what was asked for, what there is, and the way out."""


class MillpondError(Exception):
    """Root of all errors that Millpond raises on purpose."""


class PluginError(MillpondError):
    """A plugin broke its contract: raised by registering in Python, and at loading where that is strict."""


class UnknownNameError(MillpondError, LookupError):
    """A name that no plugin brings, that two plugins bring, or whose target cannot be imported."""


class CheckpointError(MillpondError, ValueError):
    """A model's files are missing, damaged, or contradict each other."""


class ModelNotFoundError(CheckpointError, FileNotFoundError):
    """No source knows a model of that name."""


class InvalidInputError(MillpondError, ValueError):
    """What the caller passed cannot be served.

    Attributes:
        index: The place of the prompt in the call, from 0; None when the call itself is at fault.
        parameter: The name of the parameter at fault, where there is one.
    """

    def __init__(self, message: str, *, index: int | None = None, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.parameter = parameter

    def __str__(self) -> str:
        return self.message if self.index is None else f"prompt {self.index}: {self.message}"

    def at(self, index: int) -> "InvalidInputError":
        """The same error, naming the place of the prompt in the call."""
        located = type(self)(self.message, index=index, parameter=self.parameter)
        located.__cause__ = self.__cause__
        return located


class MissingDependencyError(InvalidInputError):
    """An optional package is missing that the input needs; the message has the command that installs it."""


class EngineError(MillpondError, RuntimeError):
    """The model failed on a request; the requests beside it are not harmed."""


class ComponentError(EngineError, PluginError):
    """A component of a plugin failed on a request, or returned something else than its kind promises.

    Attributes:
        plugin: The name of the plugin; empty if it is not known.
        kind: The kind of the component, such as ``"pooler"``.
        name: The name of the component.
        public: The message without the text of what was raised, for clients of a server.
    """

    def __init__(self, message: str, *, plugin: str = "", kind: str = "", name: str = "", public: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.kind = kind
        self.name = name
        self.public = public or message

    def at(self, index: int) -> "ComponentError":
        """The same error, naming the place of the prompt in the call."""
        located = type(self)(
            f"prompt {index}: {self}", plugin=self.plugin, kind=self.kind, name=self.name, public=self.public
        )
        located.__cause__ = self.__cause__
        return located


class NonFiniteOutputError(EngineError):
    """The model computed NaN or infinity for a request."""


class InsufficientMemoryError(EngineError):
    """There was not enough memory for a request, though it was computed alone."""


class BlockedInputError(EngineError):
    """The model has failed on this input a moment ago, and is not asked again for a while."""


class EngineOverloadedError(EngineError):
    """The engine's inbox is full: try again later, or raise ``max_waiting_tokens``.

    Attributes:
        retry_after: In how many seconds there should be room again, as far as that can be said; else None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineClosedError(EngineError):
    """The engine was closed before or while the request waited."""


class RequestCancelledError(EngineError):
    """The request was cancelled by its caller before it ran."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was not enough memory, of the device or of the machine; without torch."""
    is_torch = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return is_torch or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
