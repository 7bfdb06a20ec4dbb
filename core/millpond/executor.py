"""Opens the executor of a loaded model: a runner in this process, or an executor of several engine processes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.components import runtime_refusal, used_entries
from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

    from millpond.engine.executor import Executor
    from millpond.engine.runner import Runner
    from millpond.loading.arguments import Arguments
    from millpond.loading.build import LoadedModel
    from millpond.nn.model import PoolingModel
    from millpond.plugin.manager import PluginManager


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """Everything that an executor needs to load a model in other processes.

    Attributes:
        loaded: The model in this process, without weights.
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
    parallel = arguments.parallel
    if parallel.size == 1:
        engine = loaded.engine
        return open_runner(loaded.model, loaded.context.device, engine.num_workers, cuda_graphs=engine.cuda_graphs)
    entry = plugins.registry.executors.get(parallel.backend)
    refusal = runtime_refusal(used_entries(loaded))
    if refusal is not None:
        message = f"data_parallel_size={parallel.size} starts other processes: {refusal}"
        raise InvalidInputError(message, parameter="data_parallel_size")
    setup = EngineSetup(loaded=loaded, arguments=arguments, plugins=plugins)
    with blamed(entry if is_foreign(entry) else None, "failed to start engines"):
        executor: Executor = entry.load()(setup)
    if is_foreign(entry) and not callable(getattr(executor, "submit", None)):
        raise breach(entry, f"it returned {described(executor)}; expected an Executor, as in millpond.engine.executor")
    return executor


def open_runner(
    model: "PoolingModel", device: "torch.device", num_workers: int | None, *, cuda_graphs: bool = False
) -> "Runner":
    """Start the workers of a model in this process.

    Args:
        model: The model.
        device: Its device.
        num_workers: On a CPU, the number of workers; None for one per core. On a CUDA device, the number of batches in
            flight; None for one.
        cuda_graphs: True to launch small batches on a CUDA device with recorded graphs.
    """
    from millpond.engine.runner import Runner  # noqa: PLC0415  needs torch

    if device.type != "cuda":
        return Runner(model, device=device, num_workers=num_workers)
    if (num_workers or 1) > 1:
        from millpond.engine.pipelined_runner import PipelinedRunner  # noqa: PLC0415  only for CUDA
        from millpond.engine.transfers import CudaStreams  # noqa: PLC0415  as above

        runner: Runner = PipelinedRunner(model, CudaStreams(device), device=device, max_in_flight=num_workers or 1)
    else:
        runner = Runner(model, device=device)
    if cuda_graphs:
        from millpond.engine.graphs import MAX_LENGTH, CudaRecorder, GraphedModel  # noqa: PLC0415  as above

        runner.forward = GraphedModel(
            model, CudaRecorder(device), device=device, max_length=min(model.ctx.model.max_model_len, MAX_LENGTH)
        )
    return runner
