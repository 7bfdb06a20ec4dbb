"""Registers the cluster `ray`."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import ClusterSpec


@hookimpl
def register_clusters() -> Iterator[ClusterSpec]:
    """Register Ray clusters."""
    yield ClusterSpec(
        name="ray",
        target="millpond_ray.cluster:RayCluster",
        summary='Run on the Ray cluster with this address; "auto" for the one on this machine, "local" to start one.',
    )
