"""The limits of a batch: those of the config, else small ones for a CPU and large ones for other devices."""

from types import SimpleNamespace

import pytest
import torch

from millpond.engine.engine import Engine
from millpond.engine.scheduler import batch_limits
from millpond.types.config import EngineConfig

GIB = 2**30


@pytest.fixture
def cuda(monkeypatch):
    """Return a function that pretends there is a CUDA device with a number of bytes of memory."""

    def pretend(memory):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory))
        return torch.device("cuda:0")

    return pretend


@pytest.mark.parametrize(("name", "limits"), [("cpu", (1024, 512)), ("mps", (8192, 4096))])
def test_defaults_of_a_device(name, limits):
    assert batch_limits(EngineConfig(), torch.device(name)) == limits


@pytest.mark.parametrize(
    ("gib", "tokens"), [(2, 4096), (7.6, 4096), (8, 8192), (23.6, 16_384), (79.1, 65_536), (80, 65_536), (139, 65_536)]
)
def test_tokens_by_the_memory_of_a_cuda_device(cuda, gib, tokens):
    assert batch_limits(EngineConfig(), cuda(int(gib * GIB))) == (tokens, 4096)


def test_arguments_take_precedence(cuda):
    config = EngineConfig(max_num_batched_tokens=100, max_num_seqs=7)
    assert batch_limits(config, torch.device("cpu")) == batch_limits(config, cuda(80 * GIB)) == (100, 7)


def test_an_engine_has_the_limits_of_its_device(make_runner, cuda):
    runner = make_runner()
    assert Engine(runner, EngineConfig()).scheduler.max_num_batched_tokens == 1024
    runner.device = cuda(80 * GIB)
    scheduler = Engine(runner, EngineConfig()).scheduler
    assert (scheduler.max_num_batched_tokens, scheduler.max_num_seqs) == (65_536, 4096)
