"""Options for running a command on a cluster: one for each cluster of a plugin, and the workers on it."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Entry
from millpond_command.cli import USAGE, CommandError
from millpond_command.clusters import Cluster, Workers
from millpond_command.declare import option
from millpond_command.kinds import ClusterSpec

T = TypeVar("T")
PANEL = "Cluster"


def _clusters() -> tuple[Entry[ClusterSpec], ...]:
    return get_plugin_manager().registry[ClusterSpec].entries()


def with_clusters(cls: type[T]) -> type[T]:
    """Make a dataclass: an option ``--NAME ADDRESS`` for each cluster, then the class's own fields."""
    other_fields = vars(cls).get("__annotations__", {})
    named = {entry.spec.name: entry.spec for entry in _clusters()}
    cls.__annotations__ = {
        name: Annotated[str | None, option(PANEL, f"--{name.replace('_', '-')}", metavar="ADDRESS", help=spec.summary)]
        for name, spec in named.items()
    } | other_fields
    for name in named:
        setattr(cls, name, None)
    return dataclass(frozen=True, kw_only=True)(cls)


@with_clusters
class ClusterOptions:
    """A cluster, and the workers on it."""

    workers: Annotated[
        int | None,
        option(
            PANEL,
            "--workers",
            metavar="N",
            least=1,
            help="The number of workers on the cluster. (default: one per GPU, or per machine without GPUs)",
        ),
    ] = None
    worker_cpus: Annotated[
        float | None,
        option(
            PANEL,
            "--worker-cpus",
            metavar="N",
            least=0,
            help="The CPUs of a worker. (default: all of a machine, or 1 beside a GPU)",
        ),
    ] = None
    worker_gpus: Annotated[
        float | None,
        option(
            PANEL,
            "--worker-gpus",
            metavar="N",
            least=0,
            help="The GPUs of a worker. (default: 1 if the cluster has GPUs)",
        ),
    ] = None


def chosen_cluster(options: ClusterOptions) -> tuple[Cluster, Workers] | None:
    """Return the cluster of the options and its workers; None if none is chosen.

    Raises:
        CommandError: If two clusters are chosen, or workers without a cluster.
    """
    chosen = [entry for entry in _clusters() if getattr(options, entry.spec.name) is not None]
    workers = Workers(count=options.workers, cpus=options.worker_cpus, gpus=options.worker_gpus)
    names = " or ".join(f"--{entry.spec.name}" for entry in _clusters())
    if not chosen and workers != Workers():
        message = f"--workers, --worker-cpus and --worker-gpus need a cluster: pass {names}"
        raise CommandError(message, exit_code=USAGE)
    if len(chosen) > 1:
        message = f"{names} exclude each other"
        raise CommandError(message, exit_code=USAGE)
    if not chosen:
        return None
    return chosen[0].load()(getattr(options, chosen[0].spec.name)), workers
