"""Clusters, and the applications that they serve: the protocols of the targets of their records, and their data."""

import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
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
    """Machines that run jobs and servers. The target of its record takes an address."""

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
    """Models with an HTTP API, in the server of a different plugin.

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
