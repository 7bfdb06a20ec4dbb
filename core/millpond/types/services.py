"""The roles of services: clusters, HTTP applications, arguments of other libraries, and spaces of embeddings."""

import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The processes that a cluster starts.

    Attributes:
        count: Their number; None for one per GPU, or one per machine if there are no GPUs.
        cpus: The CPUs of each; None for all of a machine, or one beside a GPU.
        gpus: The GPUs of each; None for one if the cluster has GPUs.
    """

    count: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class ServedModels:
    """Models of a server, as data that can be sent to other processes.

    Attributes:
        names: The names of each model in requests, by its folder or hub id.
        arguments: The arguments of ``AsyncLLM``, for all models.
        settings: The settings of the application, by name.
        elsewhere: The names of models of the same server in other processes, for messages.
    """

    names: Mapping[str, Sequence[str]]
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any]
    elsewhere: Sequence[str] = ()


class Cluster(Protocol):
    """The role "cluster": machines that run jobs and servers. The target of its record takes an address."""

    def run(self, work: Callable[[threading.Event], object], workers: Workers, stop: threading.Event) -> None:
        """Call a picklable function in each worker, and return when all calls have returned.

        A worker whose process ends is started again. When ``stop`` is set, so is the event that the function received.

        Raises:
            MillpondError: The error of a call.
        """
        ...

    def serve(
        self,
        models: ServedModels,
        workers: Workers,
        listen: tuple[str, int],
        listening: Callable[[str], object],
        stop: threading.Event,
    ) -> None:
        """Serve models over HTTP until ``stop`` is set. Each worker holds one model.

        Args:
            models: The models.
            workers: The workers of each model.
            listen: The host and the port to listen on.
            listening: Called with the URL when all models are loaded.
            stop: Set it from a different thread or a signal to stop the server.

        Raises:
            MillpondError: If a model cannot be loaded.
        """
        ...


class Application(Protocol):
    """The role "application": models with an HTTP API, in the server of a different plugin.

    The target of its record takes `ServedModels` and loads them.
    """

    @property
    def max_body_bytes(self) -> int:
        """The maximum size of a request body."""
        ...

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve one ASGI event. Lifespan events start and close the engines."""
        ...

    async def start(self) -> None:
        """Start the engines, where no lifespan event does."""
        ...

    def check_health(self) -> None:
        """Raise an error if an engine crashed or hangs.

        Raises:
            EngineError: Names the model and the reason.
        """
        ...


class ArgumentDialect(Protocol):
    """The role "arguments": the arguments of another library, for programs that pass them to ``LLM``.

    The target of its record is an object with these methods, such as a class with static methods.
    """

    def translate(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call with those of the library replaced by those of Millpond.

        Arguments without effect are removed. Arguments of Millpond and unknown ones are returned unchanged.

        Raises:
            InvalidInputError: If an argument requests something that is not supported.
        """
        ...

    def names(self) -> Iterable[str]:
        """Return the names of the library's arguments, for suggestions in errors."""
        ...


class Space(Protocol):
    """The role "space": the files and settings that decide the numbers of embeddings.

    Vectors of one space can be compared. The target of its record takes a ``ResolvedModel`` and ``InputOptions``, and
    returns an object with these methods.
    """

    @property
    def id(self) -> str:
        """A short id; equal ids are the same space."""
        ...

    @property
    def descriptor(self) -> dict[str, Any]:
        """The id with the files and settings, as JSON values."""
        ...

    def of_call(
        self,
        *,
        dimensions: int | None = None,
        normalized: bool | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> "Space":
        """Return the space of calls that change settings of the model."""
        ...

    def require(self, expected: object) -> None:
        """Check that this is the expected space, by its id or descriptor.

        Raises:
            SpaceMismatchError: If it is another space.
        """
        ...
