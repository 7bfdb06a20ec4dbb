"""The facts of a model that a recipe depends on, read from its configuration without loading weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.arguments import read_arguments
from millpond.loading.build import resolve_model
from millpond.plugin.manager import get_plugin_manager
from millpond_jobs.errors import JobError
from millpond_jobs.recipe import Recipe

if TYPE_CHECKING:
    from millpond.loading.resolution import Resolution
    from millpond.types.config import ModelConfig

RUNTIME = "runtime"


@dataclass(frozen=True)
class ModelFacts:
    """A resolved model.

    Attributes:
        resolution: The files of the model and the decisions about them.
        config: Its configuration.
        device: The type of its device: "cpu" or "cuda".
    """

    resolution: "Resolution"
    config: "ModelConfig"
    device: str


def read_model_facts(recipe: Recipe) -> ModelFacts:
    """Resolve the model of a recipe.

    Raises:
        JobError: If the model does not serve the task, or depends on plugins that were registered at run time.
        ModelNotFoundError: If no source has the model.
    """
    registry = get_plugin_manager().registry
    resolution, device = resolve_model(registry, recipe.model, read_arguments(recipe.model_arguments))
    refuse_runtime_plugins(resolution)
    return ModelFacts(resolution, resolution.model_config(), device.type)


def refuse_runtime_plugins(resolution: "Resolution") -> None:
    """Refuse a model that is served by a plugin of this process alone: another process would not have it.

    Raises:
        JobError: Names the plugin.
    """
    entries = [resolution.architecture, resolution.converter]
    names = [entry.label for entry in entries if entry is not None and entry.origin.rank == RUNTIME]
    if names:
        message = (
            f"{' and '.join(names)} registered at run time and does not exist in other processes. "
            "Put it into a package with an entry point of the group 'millpond', and install that."
        )
        raise JobError(message)
