"""Fixtures of the tests of failing inputs: an engine that blocks them for an hour."""

from types import SimpleNamespace

import pytest
from engine_kit import HOUR, closing, deaths, gate, kit, make_runner, model  # noqa: F401  fixtures

from millpond.engine.background import BackgroundEngine
from millpond.types.config import EngineConfig
from millpond_server.runtime.failing_inputs import FailingInputs


@pytest.fixture
def blocking(make_runner, closing):  # noqa: F811  a fixture
    """Return the failing inputs, and a function that creates engines that block them."""
    failing_inputs = FailingInputs(HOUR)

    def make(num_workers=1, **config):
        thread = BackgroundEngine(make_runner(num_workers), EngineConfig(**config))
        failing_inputs.attach(thread)
        closing.callback(thread.close, finish=False)
        return thread

    return SimpleNamespace(failing_inputs=failing_inputs, engine=make)
