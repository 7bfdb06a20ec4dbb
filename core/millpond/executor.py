"""Opens the executor of a loaded model: a runner in this process, or the executor of a plugin."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.components import runtime_refusal, used_entries
from millpond.plugin.blame import blamed, breach, described
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.engine.executor import Executor
    from millpond.loading.arguments import Arguments
    from millpond.loading.build import LoadedModel
    from millpond.plugin.manager import PluginManager


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """Everything that an executor needs to compute with a model.

    Attributes:
        loaded: The model in this process; without weights if other processes load it.
        arguments: The arguments of the model; ``arguments.parallel`` has the number of processes and their devices.
        plugins: The plugins of this process.
    """

    loaded: "LoadedModel"
    arguments: "Arguments"
    plugins: "PluginManager"


def open_executor(loaded: "LoadedModel", arguments: "Arguments", plugins: "PluginManager") -> "Executor":
    """Start the workers of a model, or the processes that compute in its place.

    Raises:
        UnknownNameError: If no plugin provides the executor.
        InvalidInputError: If the model uses components that are registered in this process alone.
    """
    parallel, engine, executors = arguments.parallel, arguments.engine, plugins.registry.executors
    device = loaded.context.device
    if parallel.size > 1:
        entry = executors.get(parallel.backend)
        refusal = runtime_refusal(used_entries(loaded))
        if refusal is not None:
            message = f"data_parallel_size={parallel.size} starts other processes: {refusal}"
            raise InvalidInputError(message, parameter="data_parallel_size")
    elif device.type not in executors and not engine.cuda_graphs:
        from millpond.engine.runner import Runner  # noqa: PLC0415  needs torch

        return Runner(loaded.model, device=device, num_workers=engine.num_workers)
    else:
        entry = executors.get(device.type)
    setup = EngineSetup(loaded=loaded, arguments=arguments, plugins=plugins)
    with blamed(entry, "failed to start engines"):
        executor: Executor = entry.load()(setup)
    if not callable(getattr(executor, "submit", None)):
        raise breach(entry, f"it returned {described(executor)}; expected an Executor, as in millpond.engine.executor")
    return executor
