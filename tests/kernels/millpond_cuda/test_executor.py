"""The choice of the executor: models on a CUDA device get the one of this package, from the registry."""

import pytest
import torch

from millpond import LLM
from millpond.engine.runner import Runner
from millpond.executor import open_executor
from millpond.loading.arguments import read_arguments
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond_cuda.graphs import GraphedModel
from millpond_cuda.pipelined_runner import PipelinedRunner


@pytest.fixture
def opened(folder, closing):
    """Return a function that opens the executor of a tiny BERT, as if it were on a device."""

    def opened(device="cuda", plugins=None, **arguments):
        with LLM(str(folder), num_workers=1) as llm:
            loaded = llm._loaded  # noqa: SLF001  a model that is ready to run
        vars(loaded.context)["device"] = torch.device(device)
        executor = open_executor(loaded, read_arguments(arguments), plugins or get_plugin_manager())
        closing.callback(executor.close)
        return executor

    return opened


@pytest.mark.parametrize("requested", [True, False])
@pytest.mark.parametrize("num_workers", [None, 2])
def test_the_arguments_select_recorded_graphs_and_batches_in_flight(opened, cuda, requested, num_workers):
    runner = opened(num_workers=num_workers, cuda_graphs=requested)
    assert isinstance(runner.forward, GraphedModel) is requested
    assert isinstance(runner, PipelinedRunner) is (num_workers == 2)
    assert cuda == []


def test_other_devices_get_the_runner_of_the_core(opened):
    assert type(opened("cpu", num_workers=1)) is Runner


def test_without_the_plugin_batches_are_computed_one_at_a_time(opened):
    plugins = PluginManager(disabled={"cuda"})
    runner = opened(plugins=plugins, num_workers=2)
    assert (type(runner), runner.num_workers) == (Runner, 1)
    with pytest.raises(UnknownNameError, match=r"Unknown executor 'cuda'\. Available: mp"):
        opened(plugins=plugins, cuda_graphs=True)


def test_the_executor_of_one_device_refuses_several_processes(opened):
    with pytest.raises(InvalidInputError, match="computes in one process, on one device: use 'mp' for several"):
        opened(data_parallel_size=2, data_parallel_backend="cuda")
