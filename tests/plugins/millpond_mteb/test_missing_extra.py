"""Without the extra, the error names the command that installs it."""

import importlib.util

import pytest

import millpond_mteb


def test_missing_mteb_is_reported_with_the_command_that_installs_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("millpond_mteb.find_spec", lambda name: None if name == "mteb" else find_spec(name))
    with pytest.raises(ModuleNotFoundError, match=r"MillpondEncoder needs mteb: pip install .*mteb"):
        _ = millpond_mteb.MillpondEncoder
    assert "MillpondMultiVector" in dir(millpond_mteb)
