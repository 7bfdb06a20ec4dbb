"""RayCluster: calls a function in actors of a Ray cluster, until all calls have returned."""

# pyright: reportMissingImports=false
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millpond.types.errors import InvalidInputError, MillpondError
from millpond_command.extras import install_command

if TYPE_CHECKING:
    from millpond_command.clusters import ServedModels, Workers

POLL_S = 0.5
MAX_RESTARTS = 3  # more restarts of one worker indicate an input that ends its process


class RayCluster:
    """The machines of a Ray cluster.

    Args:
        address: An address of ``ray.init``, such as ``host:6379`` or ``ray://host:10001``; "auto" for the cluster that
            runs on this machine, "local" to start one that ends with this process.

    Raises:
        MillpondError: If Ray is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray  # noqa: PLC0415  `plugins doctor` imports this module without the extra
        except ModuleNotFoundError as error:
            message = f"--ray needs ray, which the extra 'ray' installs: {install_command('ray')}"
            raise MillpondError(message) from error
        self._ray, self._address = ray, address

    def run(self, work: Callable[[threading.Event], object], workers: "Workers", stop: threading.Event) -> None:
        """Call a picklable function in each worker, and return when all calls have returned.

        The function is called in the working directory of this process, if that exists on the machine of the worker. A
        worker whose process ends is started again, at most `MAX_RESTARTS` times.

        Args:
            work: The function. It receives an event that is set when ``stop`` is.
            workers: The number of workers and their resources.
            stop: Set it from a different thread to stop all workers.

        Raises:
            InvalidInputError: If no machine has the resources of a worker.
            MillpondError: The first error of a call; the other workers are stopped.
        """
        with self._connected():
            count, resources = self._shape(workers)
            actor = self._ray.remote(WorkerActor).options(
                **resources, max_restarts=MAX_RESTARTS, max_concurrency=2, scheduling_strategy="SPREAD"
            )
            actors = [actor.remote() for _ in range(count)]
            call = {"max_task_retries": -1}
            calls = [it.run.options(**call).remote(work, os.getcwd()) for it in actors]  # noqa: PTH109  text travels
            self._wait(calls, actors, stop)

    def serve(
        self,
        models: "ServedModels",
        workers: "Workers",
        listen: tuple[str, int],
        listening: Callable[[str], object],
        stop: threading.Event,
    ) -> None:
        """Serve models with Ray Serve until ``stop`` is set.

        Args:
            models: The models; each is a deployment.
            workers: The replicas of each model and their resources.
            listen: The host and the port to listen on.
            listening: Called with the URL when all models are loaded.
            stop: Set it to delete the application.

        Raises:
            InvalidInputError: If no machine has the resources of a replica.
            MillpondError: If a model cannot be loaded.
        """
        with self._connected():
            from millpond_ray.serving import serve_until  # noqa: PLC0415  imports Ray Serve, which jobs do not need

            count, resources = self._shape(workers)
            replicas = workers.count or max(1, count // len(models.names))
            serve_until(stop, models, {"num_replicas": replicas, "ray_actor_options": resources}, listen, listening)

    def _wait(self, calls: list[Any], actors: list[Any], stop: threading.Event) -> None:
        """Wait for all calls, and stop them after the first error."""
        error: Exception | None = None
        while calls:
            done, calls = self._ray.wait(calls, timeout=POLL_S)
            for call in done:
                try:
                    self._ray.get(call)
                except self._ray.exceptions.RayError as failure:
                    error = error or _cause(failure)
            if error is not None or stop.is_set():
                for actor in actors:  # at each turn, because a worker that was started again must know it too
                    actor.stop.remote()
        if error is not None:
            raise error

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Connect to the cluster, unless the program is connected."""
        if self._ray.is_initialized():
            yield
            return
        try:
            with _same_signal_handlers():
                self._ray.init(address=self._address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            message = f"Cannot connect to the Ray cluster {self._address!r}: {error}"
            raise MillpondError(message) from error
        try:
            yield
        finally:
            self._ray.shutdown()

    def _shape(self, workers: "Workers") -> tuple[int, dict[str, float]]:
        """Return the number of workers and the resources of each.

        Raises:
            InvalidInputError: If no machine has these resources.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
        gpus = min(1, most["GPU"]) if workers.gpus is None else workers.gpus
        cpus = workers.cpus if workers.cpus is not None else (1 if gpus else min(_positive(nodes, "CPU"), default=1))
        wanted = {"CPU": cpus, "GPU": gpus}
        per_node = [min((int(node.get(name, 0) // n) for name, n in wanted.items() if n), default=1) for node in nodes]
        if not any(per_node):
            message = (
                f"No machine of the cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker. The largest has "
                f"{most['CPU']:g} CPUs and {most['GPU']:g} GPUs."
            )
            raise InvalidInputError(message)
        return workers.count or sum(per_node), {"num_cpus": cpus, "num_gpus": gpus}


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which Ray replaces: its own one aborts the process after seconds."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _positive(nodes: list[dict[str, float]], name: str) -> list[float]:
    return [node[name] for node in nodes if node.get(name)]


def _cause(error: Any) -> Exception:
    """Return the error of a call, without Ray's traceback if it is one of Millpond's."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, MillpondError):
        return cause
    return MillpondError(f"A worker failed: {error}")


class WorkerActor:
    """An actor that calls a function; `stop` runs in a second thread."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def run(self, work: Callable[[threading.Event], object], folder: str) -> None:
        """Call the function in a folder, with the resources of this actor."""
        from millpond_ray.node import limit_process  # noqa: PLC0415  imports ray

        limit_process()
        if os.path.isdir(folder):  # noqa: PTH112  as above
            os.chdir(folder)
        work(self._stop)

    def stop(self) -> None:
        """Set the event that the function received."""
        self._stop.set()
