"""``millpond serve`` on a cluster: the models, arguments and settings are sent to its machines."""

from collections.abc import Mapping, Sequence
from typing import Any

from millpond_command.cli import USAGE, CommandError, echo
from millpond_command.clusters import Cluster, ServedModels, Workers
from millpond_command.stop_signals import stop_on_signals
from millpond_server.runtime.settings import Settings

# Settings of sockets and files of one machine, which the server of the cluster does not use.
LOCAL_SETTINGS = (
    "uds",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_keyfile_password",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "metrics_port",
    "metrics_host",
    "batch_dir",
)


def serve_on_cluster(
    cluster: tuple[Cluster, Workers],
    models: Mapping[str, Sequence[str]],
    arguments: Mapping[str, Any],
    values: dict[str, Any],
) -> None:
    """Serve models on a cluster until SIGINT or SIGTERM.

    Args:
        cluster: The cluster, and the workers of each model.
        models: The names of each model in requests, by its folder or hub id.
        arguments: The arguments of ``AsyncLLM``.
        values: The values of the server's options, by the names of ``Settings``.

    Raises:
        CommandError: If an option has no effect on a cluster.
    """
    local = [name for name in LOCAL_SETTINGS if name in values and values[name] != getattr(Settings, name)]
    if local:
        message = f"--{local[0].replace('_', '-')} cannot be used on a cluster"
        raise CommandError(message, exit_code=USAGE)
    listen = host, port = values.get("host", Settings.host), values.get("port", Settings.port)
    if port == 0:
        message = "--port 0 cannot be used on a cluster: all machines listen on the same port"
        raise CommandError(message, exit_code=USAGE)
    settings = {name: value for name, value in values.items() if name not in (*LOCAL_SETTINGS, "port")}
    settings["host"] = host  # determines which host names are accepted
    served = ServedModels(names=models, arguments=arguments, settings=settings)
    on, workers = cluster
    with stop_on_signals() as stop:
        on.serve(served, workers, listen, lambda url: echo(f"Millpond listens on {url}"), stop)
