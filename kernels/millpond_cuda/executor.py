"""The executor of a CUDA device, as the arguments of a model request it."""

from millpond.engine.runner import Runner
from millpond.executor import EngineSetup
from millpond.types.errors import InvalidInputError
from millpond_cuda.graphs import MAX_LENGTH, CudaRecorder, GraphedModel
from millpond_cuda.pipelined_runner import PipelinedRunner
from millpond_cuda.transfers import CudaStreams


def open_cuda(setup: EngineSetup) -> Runner:
    """Start the worker of a model on a CUDA device, with ``num_workers`` batches in flight and ``cuda_graphs``.

    Raises:
        InvalidInputError: If the arguments select this executor for several processes.
    """
    if setup.arguments.parallel.size > 1:
        message = "data_parallel_backend='cuda' computes in one process, on one device: use 'mp' for several"
        raise InvalidInputError(message, parameter="data_parallel_backend")
    model, device, engine = setup.loaded.model, setup.loaded.context.device, setup.arguments.engine
    if (engine.num_workers or 1) > 1:
        max_in_flight = engine.num_workers or 1
        runner: Runner = PipelinedRunner(model, CudaStreams(device), device=device, max_in_flight=max_in_flight)
    else:
        runner = Runner(model, device=device)
    if engine.cuda_graphs:
        longest = min(model.ctx.model.max_model_len, MAX_LENGTH)
        runner.forward = GraphedModel(model, CudaRecorder(device), device=device, max_length=longest)
    return runner
