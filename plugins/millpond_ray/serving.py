"""Ray Serve: deployments of the server's ASGI application, one for each model, and a router for several."""

# pyright: reportMissingImports=false
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.schema import ProxyStatus

from millpond.loading.arguments import read_arguments
from millpond.model.source import find_repository
from millpond.plugin.manager import get_plugin_manager
from millpond.types.errors import MillpondError
from millpond_command.clusters import Application, ServedModels
from millpond_command.kinds import ApplicationSpec
from millpond_ray.asgi import Application as AsgiApplication
from millpond_ray.asgi import Response, answer, as_ingress
from millpond_ray.node import arguments_on_node, fetching
from millpond_ray.routing import Router

APPLICATION = "http"  # the name of the application that is served
COMMAND = "millpond"  # the name of the application of `millpond serve --ray`
DEFAULTS: Mapping[str, Any] = {
    "max_ongoing_requests": 256,  # Serve's default of 5 leaves nothing to batch
    "health_check_period_s": 2.0,
    "health_check_timeout_s": 10.0,
}
ROUTER_OPTIONS: Mapping[str, Any] = {"max_ongoing_requests": 1024, "ray_actor_options": {"num_cpus": 0}}
ONE_ATTEMPT: Mapping[str, Any] = {"max_constructor_retry_count": 1}  # three, by default, report the same error later
PROXY_TIMEOUT_S = 120.0
POLL_S = 0.2
ERROR_IN_TRACEBACK = re.compile(r"^[\w.]+Error: ", re.MULTILINE)


class ModelReplica:
    """A replica of a deployment: a loaded model and the application that serves it.

    Args:
        models: The model.
    """

    def __init__(self, models: ServedModels) -> None:
        registry = get_plugin_manager().registry
        arguments = arguments_on_node(dict(models.arguments))
        for model in models.names:
            with fetching(model, arguments):
                find_repository(registry, model, read_arguments(arguments).source)
        application = registry[ApplicationSpec].get(APPLICATION).load()
        self.application: Application = application(replace(models, arguments=arguments))

    def __serve_build_asgi_app__(self) -> AsgiApplication:
        """Return the application; Ray Serve calls it with HTTP requests and lifespan events."""
        return as_ingress(self.application)

    def check_health(self) -> None:
        """Raise an error if the engine crashed or hangs; Ray Serve then replaces this replica.

        Raises:
            EngineError: Names the reason.
        """
        self.application.check_health()


class RoutedReplica:
    """A replica of one of several models: it answers requests of the router, since an application has one ingress.

    Args:
        models: The model.
    """

    async def __init__(self, models: ServedModels) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        self._replica = ModelReplica(models)
        await self._replica.application.start()

    def check_health(self) -> None:
        """Raise an error if the engine crashed or hangs, like `ModelReplica.check_health`."""
        self._replica.check_health()

    async def max_body_bytes(self) -> int:
        """Return the maximum size of a request body."""
        return self._replica.application.max_body_bytes

    async def answer(self, scope: dict[str, Any], body: bytes) -> Response:
        """Return the response to a request."""
        return await answer(self._replica.application, scope, body)


def deployment(
    models: str | Mapping[str, str],
    *,
    name: str = "millpond",
    num_cpus: float = 1,
    num_gpus: float = 0,
    arguments: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Return an application of Ray Serve with the routes of ``millpond serve``.

    Each model is a deployment, which Serve scales and replaces on its own. With several models, a router passes a
    request to the model that its field ``model`` names, and a request without that field to the first one.

    Args:
        models: A folder or hub id; or several by their names in requests.
        name: The name of the deployment, and the prefix of those of several models.
        num_cpus: The CPUs of a replica. On a CPU, the model computes with this number of threads.
        num_gpus: The GPUs of a replica; 0 to compute on the CPU.
        arguments: Arguments of ``AsyncLLM``, for all models.
        settings: Settings of the application, such as ``{"api_keys": ["secret"]}``.
        **options: Options of ``serve.deployment``, such as ``num_replicas`` and ``autoscaling_config``.

    Returns:
        An application for ``serve.run``.
    """
    named = {models: models} if isinstance(models, str) else dict(models)
    served = ServedModels(
        names={path: (served_name,) for served_name, path in named.items()},
        arguments=dict(arguments or {}),
        settings=dict(settings or {}),
    )
    resources = {"num_cpus": num_cpus, "num_gpus": num_gpus, **options.pop("ray_actor_options", {})}
    return bind(served, name, {**options, "ray_actor_options": resources})


def bind(models: ServedModels, name: str, options: Mapping[str, Any]) -> Any:
    """Return an application of Ray Serve: one deployment, or one for each model and a router.

    Args:
        models: The models.
        name: The name of the deployment, and the prefix of those of several models.
        options: Options of ``serve.deployment``.

    Raises:
        ValueError: If there are no models.
    """
    if not models.names:
        message = "a deployment needs at least one model"
        raise ValueError(message)
    chosen = {**DEFAULTS, **options}
    if len(models.names) == 1:
        return serve.deployment(name=name, **chosen)(serve.ingress()(ModelReplica)).bind(models)
    handles = [
        serve.deployment(name=f"{name}-{number}", **chosen)(RoutedReplica).bind(part)
        for number, part in enumerate(_parts(models))
    ]
    router = serve.deployment(name=name, **ROUTER_OPTIONS)(serve.ingress()(Router))
    return router.bind([tuple(names) for names in models.names.values()], handles)


def _parts(models: ServedModels) -> Iterator[ServedModels]:
    """Yield each model alone, with the names of the others."""
    for path, names in models.names.items():
        elsewhere = tuple(name for other, group in models.names.items() if other != path for name in group)
        yield replace(models, names={path: names}, elsewhere=elsewhere)


def serve_until(
    stop: threading.Event,
    models: ServedModels,
    options: Mapping[str, Any],
    listen: tuple[str, int],
    listening: Callable[[str], object],
) -> None:
    """Run models as an application of Ray Serve until an event is set, then delete it.

    Args:
        stop: The event.
        models: The models.
        options: Options of ``serve.deployment``.
        listen: The host and the port; without effect if Serve is running on the cluster.
        listening: Called with the URL when all models are loaded.

    Raises:
        MillpondError: If a model cannot be loaded, Serve does not start, or it runs such an application already.
    """
    start_proxies(*listen)
    if COMMAND in serve.status().applications:
        message = (
            f"Ray Serve runs an application {COMMAND!r} on this cluster: stop the other `millpond serve --ray`, or "
            "pass several models to one command"
        )
        raise MillpondError(message)
    try:
        serve.run(bind(models, COMMAND, {**options, **ONE_ATTEMPT}), name=COMMAND, route_prefix="/")
        listening(f"http://{listen[0]}:{listen[1]}")
        stop.wait()
    except RuntimeError as error:
        status = serve.status().applications.get(COMMAND)
        reasons = [final_error(it.message) for it in status.deployments.values() if it.message] if status else []
        message = f"Ray Serve cannot run {', '.join(models.names)}: {'; '.join(reasons) or error}"
        raise MillpondError(message) from error
    finally:
        serve.delete(COMMAND)
        if not serve.status().applications:
            serve.shutdown()


def final_error(message: str) -> str:
    """Return the last error of a message with tracebacks; without its type if it is one of Millpond's."""
    *_, last = [None, *ERROR_IN_TRACEBACK.finditer(message)]
    if last is None:
        return message
    return message[last.end() if last[0].startswith("millpond.") else last.start() :].strip()


def start_proxies(host: str, port: int) -> None:
    """Start Ray Serve, if it is not running, and wait until it listens.

    Serve replaces a proxy that does not answer 5 s after its start, which happens on a busy machine, and `serve.start`
    fails although the next proxy will answer. This function waits for the next proxy.

    Args:
        host: The host to listen on.
        port: The port to listen on.

    Raises:
        MillpondError: If Serve does not listen in time.
    """
    options = {"host": host, "port": port}
    try:
        serve.start(http_options=options)
    except (RayActorError, TimeoutError):
        serve.start(http_options=options)  # connects to the controller that the first call started
    deadline = time.monotonic() + PROXY_TIMEOUT_S
    while not _listening():
        if time.monotonic() > deadline:
            message = f"Ray Serve does not listen on {host}:{port} after {PROXY_TIMEOUT_S:g} s"
            raise MillpondError(message)
        time.sleep(POLL_S)


def _listening() -> bool:
    return ProxyStatus.HEALTHY in serve.status().proxies.values()


def from_config(args: dict[str, Any]) -> Any:
    """Return an application from the ``args`` of a configuration file of Ray Serve: the arguments of `deployment`."""
    return deployment(**args)


def target_ongoing_requests(tokens_per_s: float, tokens_per_request: float, seconds: float = 0.5) -> float:
    """Return the number of requests in progress per replica at which autoscaling adds a replica.

    By Little's law, a replica that computes ``tokens_per_s`` finishes a request within ``seconds`` if at most
    ``seconds * tokens_per_s / tokens_per_request`` requests are in progress.

    Args:
        tokens_per_s: The measured speed of a replica, such as that of ``GET /load`` or ``millpond bench``.
        tokens_per_request: The number of tokens of a typical request.
        seconds: The time that a request may take.
    """
    return max(1.0, seconds * tokens_per_s / tokens_per_request)
