"""The settings with which an engine process starts its workers."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from millpond import executor
from millpond.loading import build
from millpond.model.repository import Repository
from millpond.types.config import EngineConfig
from millpond_parallel import engine_process
from millpond_parallel.engine_process import _Engine, _load


@pytest.mark.parametrize(("device", "num_workers"), [("cpu", 7), ("cuda:1", 2)])
def test_an_engine_process_uses_the_arguments_of_the_program(monkeypatch, device, num_workers):
    """On a GPU, the number of workers is that of batches in flight; on a CPU, the process has its own."""
    loaded = SimpleNamespace(model="the model")
    monkeypatch.setattr(build, "resolve_model", lambda *_: ("layers", torch.device(device)))
    monkeypatch.setattr(build, "build_model", lambda *_, **__: loaded)
    monkeypatch.setattr(executor, "open_runner", lambda *args, **options: (args, options))
    engine = EngineConfig(num_workers=2, cuda_graphs=True)
    setup = SimpleNamespace(
        arguments=SimpleNamespace(engine=engine, load=None, compute=None),
        manager=lambda: SimpleNamespace(registry=None),
        num_threads=torch.get_num_threads(),
        num_workers=7,
        repository=Repository("name", Path("folder"), "local"),
    )
    assert _load(setup) == (("the model", torch.device(device), num_workers), {"cuda_graphs": True})


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
