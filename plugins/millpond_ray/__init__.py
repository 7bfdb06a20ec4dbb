"""Millpond on Ray: bulk computation with Ray Data, serving with Ray Serve, jobs on a cluster. Needs the extra `ray`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millpond_ray.data import RecipeActor, map  # noqa: A004  named like the method of a dataset
    from millpond_ray.serving import deployment, from_config, target_ongoing_requests

MODULES = {
    "RecipeActor": "millpond_ray.data",
    "deployment": "millpond_ray.serving",
    "from_config": "millpond_ray.serving",
    "map": "millpond_ray.data",
    "target_ongoing_requests": "millpond_ray.serving",
}
__all__ = ["RecipeActor", "deployment", "from_config", "map", "target_ongoing_requests"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: ray and torch are not imported with the package."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    from millpond_command.extras import install_command  # noqa: PLC0415

    if find_spec("ray") is None:
        message = f"`millpond_ray` needs ray, which the extra 'ray' installs: {install_command('ray')}"
        raise ImportError(message, name="ray")
    return getattr(import_module(MODULES[name]), name)
