"""Registers the cluster `ray`."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ServiceSpec


@hookimpl
def register_services() -> Iterator[ServiceSpec]:
    """Register Ray clusters."""
    yield ServiceSpec(
        name="ray",
        role="cluster",
        target="millpond_ray.cluster:RayCluster",
        summary='Run on the Ray cluster with this address; "auto" for the one on this machine, "local" to start one.',
    )
