"""The facts of a model that a recipe depends on, read from its configuration without loading weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.arguments import read_arguments
from millpond.loading.build import resolve_model
from millpond.loading.components import computing_entries, runtime_refusal
from millpond.plugin.manager import get_plugin_manager
from millpond_recipes.errors import RecipeError
from millpond_recipes.recipe import Recipe

if TYPE_CHECKING:
    from millpond.loading.arguments import Arguments
    from millpond.model.model_layers import ModelLayers


@dataclass(frozen=True)
class ModelFacts:
    """A resolved model.

    Attributes:
        layers: What is stated about the model, and what it resolves to.
        device: The type of its device: "cpu" or "cuda".
        arguments: The arguments of `LLM`.
    """

    layers: "ModelLayers"
    device: str
    arguments: "Arguments"


def read_model_facts(recipe: Recipe) -> ModelFacts:
    """Resolve the model of a recipe.

    Raises:
        RecipeError: If the model does not serve the task, or depends on plugins that were registered at run time.
        ModelNotFoundError: If no source has the model.
    """
    registry = get_plugin_manager().registry
    arguments = read_arguments(recipe.model_arguments)
    layers, device = resolve_model(registry, recipe.model, arguments)
    refuse_runtime_plugins(layers)
    return ModelFacts(layers, device.type, arguments)


def refuse_runtime_plugins(layers: "ModelLayers") -> None:
    """Refuse a model that uses components of this process alone: another process would not have them.

    Raises:
        RecipeError: Names the components.
    """
    refusal = runtime_refusal(computing_entries(layers))
    if refusal is not None:
        raise RecipeError(refusal)
