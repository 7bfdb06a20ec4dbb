"""Environment variables for plugins: disabled plugins, and failures that are raised or logged."""

import logging
import re

import pytest

from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.types.errors import PluginError, UnknownNameError


def test_disabled_plugins_are_not_even_imported_built_in_or_not(install_plugin, monkeypatch, caplog, brings, info_of):
    install_plugin("raise AssertionError\n", "third")
    install_plugin(brings("X"), "fourth")
    monkeypatch.setenv("MILLPOND_DISABLE_PLUGINS", " third, poolers,,")
    manager = get_plugin_manager()
    assert {info.name for info in manager.plugins() if info.status == "disabled"} == {"third", "poolers"}
    assert info_of(manager, "third").origin.distribution == "millpond-third"
    assert manager.registry.poolers.names() == ("X",)
    assert (manager.failures, caplog.messages) == ([], [])
    with pytest.raises(UnknownNameError, match=r"Not loaded: poolers \(disabled\), third \(disabled\)"):
        manager.registry.poolers.get("MEAN")


def test_disabling_an_unknown_plugin_is_reported(install_plugin, caplog, brings):
    install_plugin(brings("X"), "third")
    PluginManager(ranks=("installed",), disabled=("thrid",))
    (message,) = caplog.messages
    assert re.fullmatch(
        r"MILLPOND_DISABLE_PLUGINS names an unknown plugin 'thrid'\. Installed: .*poolers.*third", message
    )


@pytest.mark.parametrize("value", ["", "0", " 0 "])
def test_not_strict(install_plugin, monkeypatch, value):
    monkeypatch.setenv("MILLPOND_STRICT_PLUGINS", value)
    install_plugin("1 / 0\n", "broken")
    assert len(get_plugin_manager().failures) == 1


def test_strict_names_all_failures_at_once(install_plugin, installed_only):
    install_plugin("1 / 0\n", "one")
    install_plugin("import not_here_at_all\n", "two")
    with pytest.raises(PluginError, match=r"plugin one .* ZeroDivisionError: .*; plugin two .* ModuleNotFoundError: "):
        installed_only(strict=True)


def test_a_failure_is_logged_with_its_traceback_in_debug_mode(install_plugin, caplog, installed_only):
    caplog.set_level(logging.DEBUG, logger="millpond")
    install_plugin("1 / 0\n", "broken")
    installed_only()
    (record,) = (record for record in caplog.records if record.levelno == logging.DEBUG)
    assert isinstance(record.exc_info[1], ZeroDivisionError)
