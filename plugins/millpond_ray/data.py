"""Ray Data: a recipe for all rows of a dataset, in actors that load the model once."""

# pyright: reportMissingImports=false
from typing import TYPE_CHECKING, Any

from ray.data import ActorPoolStrategy

from millpond.plugin.manager import get_plugin_manager
from millpond_ray.node import arguments_on_node, fetching
from millpond_recipes.model_facts import read_model_facts
from millpond_recipes.runner import Runner

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

    from millpond_recipes.recipe import Recipe

BATCH_ROWS = 4096


class RecipeActor:
    """A loaded model in an actor of Ray Data, for ``Dataset.map_batches`` with ``batch_format="pyarrow"``.

    It uses the CPUs and the GPU that Ray assigned to the actor. `map` passes it to ``map_batches``; use it yourself for
    arguments that `map` does not have.

    Args:
        recipe: The computation.
    """

    def __init__(self, recipe: "Recipe") -> None:
        recipe = recipe.model_copy(update={"args": arguments_on_node(recipe.args)})
        with fetching(recipe.model, recipe.model_arguments):
            facts = read_model_facts(recipe)
        self._runner = Runner(recipe, facts)

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        """Return a batch with the columns of results appended: same rows, same order."""
        return self._runner(batch)


def map(  # noqa: A001  named like the method of a dataset
    dataset: "Dataset",
    recipe: "Recipe",
    *,
    concurrency: int | tuple[int, int] = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batch_size: int = BATCH_ROWS,
    **ray_remote_args: Any,
) -> "Dataset":
    """Add the columns of a recipe's results to a dataset.

    All other columns are kept, so a dataset with a column of ids can use Ray Data's checkpoints. A row that fails has a
    null result and a message in the column ``error``.

    Args:
        dataset: The dataset.
        recipe: The computation. It is sent to the actors; each loads the model once.
        concurrency: The number of actors, or the minimum and the maximum of a pool that grows with its queue.
        num_cpus: The CPUs of an actor. On a CPU, the model computes with this number of threads.
        num_gpus: The GPUs of an actor: 1, or a fraction for several actors on one GPU, or 0 to compute on the CPU.
            Ray does not limit the memory of an actor on a GPU.
        batch_size: The number of rows that an actor computes at a time. Rows are sorted by length within them.
        **ray_remote_args: Other resources of an actor, such as ``memory`` or ``accelerator_type``.

    Returns:
        A dataset, which is not computed until it is used. Vectors are columns of the type FixedSizeList.

    Raises:
        RecipeError: If the model depends on plugins that are registered at run time: actors do not have them.
    """
    refuse_runtime_plugins(recipe)
    sizes: dict[str, Any] = (
        {"size": concurrency}
        if isinstance(concurrency, int)
        else {"min_size": concurrency[0], "max_size": concurrency[1]}
    )
    result: Dataset = dataset.map_batches(
        RecipeActor,
        fn_constructor_kwargs={"recipe": recipe},
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(**sizes),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        **ray_remote_args,
    )
    return result


def refuse_runtime_plugins(recipe: "Recipe") -> None:
    """Refuse a recipe whose model is served by a plugin of this process alone.

    The model is resolved only if there are such plugins: otherwise its files may be on other nodes only.

    Raises:
        RecipeError: Names the plugin.
    """
    if any(plugin.origin.rank == "runtime" for plugin in get_plugin_manager().plugins()):
        read_model_facts(recipe)
