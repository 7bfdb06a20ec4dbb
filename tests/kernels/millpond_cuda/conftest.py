"""Fixtures of the tests of the executor for CUDA devices: those of the engine, and CUDA calls that log their use."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from engine_kit import closing, folder, gate, kit, make_runner, model  # noqa: F401  fixtures

from millpond_cuda.transfers import CudaStreams


@pytest.fixture
def cuda(monkeypatch):
    """Replace CUDA's graphs and streams by ones that log their use."""
    log = []

    def stream(name):
        return SimpleNamespace(wait_stream=lambda other: log.append(f"{name} waits for {other.name}"), name=name)

    @contextmanager
    def graph(_, *, pool, stream, capture_error_mode):
        log.append(f"record on {stream.name} with {pool}, {capture_error_mode}")
        yield
        log.append("recorded")

    compute, names = stream("compute"), iter(["side", "incoming", "outgoing"])
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: stream(next(names)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: compute)
    monkeypatch.setattr(torch.cuda, "stream", lambda it: log.append(f"on {it.name}") or nullcontext())
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: log.append("replay")))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(CudaStreams, "allocate", lambda _, size: torch.empty(size, dtype=torch.uint8))
    return log
