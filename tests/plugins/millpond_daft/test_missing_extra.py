"""Without the extra, the error names the command that installs it."""

import importlib.util

import pytest

import millpond_daft


def test_missing_daft_is_reported_with_the_command_that_installs_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("millpond_daft.find_spec", lambda name: None if name == "daft" else find_spec(name))
    with pytest.raises(ModuleNotFoundError, match=r"MillpondProvider needs daft: pip install .*daft"):
        _ = millpond_daft.MillpondProvider
    assert "MillpondProvider" in dir(millpond_daft)
