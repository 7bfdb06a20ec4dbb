"""The settings with which an engine process starts its workers."""

import logging
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from millpond import executor
from millpond.executor import EngineSetup
from millpond.loading import build
from millpond.loading.arguments import read_arguments
from millpond.model.repository import Repository
from millpond.plugin.manager import get_plugin_manager
from millpond_parallel import engine_process
from millpond_parallel.engine_process import _Engine, _load
from millpond_parallel.placement import Placement
from millpond_parallel.setup import setup_for


def test_an_engine_process_uses_the_arguments_of_the_program(monkeypatch):
    monkeypatch.setattr(build, "resolve_model", lambda *_: ("layers", torch.device("cuda:1")))
    monkeypatch.setattr(build, "build_model", lambda *_, **__: "the model")
    monkeypatch.setattr(executor, "open_executor", lambda *arguments: arguments)
    arguments, plugins = SimpleNamespace(load=None, compute=None), SimpleNamespace(registry=None)
    setup = SimpleNamespace(
        arguments=arguments,
        manager=lambda: plugins,
        num_threads=torch.get_num_threads(),
        repository=Repository("name", Path("folder"), "local"),
    )
    assert _load(setup) == ("the model", arguments, plugins)


@pytest.mark.parametrize(
    ("device", "requested", "num_workers"), [("cpu", None, 7), ("cpu", 2, 2), ("cuda:1", None, None), ("cuda:1", 2, 2)]
)
def test_workers_of_an_engine_process_on_the_cpu_are_its_cores(device, requested, num_workers):
    """On a GPU, their number is that of batches in flight."""
    arguments = read_arguments({"num_workers": requested, "data_parallel_size": 2})
    repository = Repository("name", Path("folder"), "local")
    loaded = SimpleNamespace(layers=SimpleNamespace(repository=repository))
    setup = EngineSetup(loaded=loaded, arguments=arguments, plugins=get_plugin_manager())
    sent = pickle.loads(setup_for(setup, Placement(device, (), 7)))
    assert (sent.arguments.engine.num_workers, sent.arguments.device, sent.arguments.parallel.size) == (
        num_workers,
        device,
        1,
    )


def test_a_process_whose_device_is_lost_exits(monkeypatch, caplog):
    """The program computes its batches elsewhere, and starts another process."""

    class ExitedError(Exception):
        pass

    def end(code):
        assert code == engine_process.FAILURE_EXIT_CODE
        raise ExitedError

    monkeypatch.setattr(engine_process.os, "_exit", end)
    engine = _Engine.__new__(_Engine)  # without the thread that reports progress
    engine.runner = SimpleNamespace(crash=RuntimeError("the device failed"))
    with pytest.raises(ExitedError), caplog.at_level(logging.ERROR):
        engine._finish(1, None)  # noqa: SLF001  called by the runner
    assert caplog.messages == ["the device failed"]
