"""Precedence among plugins with the same name, and the names of the others."""

import pytest

from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import PoolerSpec
from millpond.types.errors import UnknownNameError


def test_installed_overrides_built_in_runtime_overrides_both_and_each_has_a_name(install_plugin, caplog, brings):
    install_plugin(brings("MEAN"), "third")
    manager = PluginManager(disabled=())
    poolers = manager.registry.poolers
    assert poolers.get("MEAN").qualified == "third/MEAN"
    manager.register(PoolerSpec(name="MEAN", target=object, tasks=("embed",)))
    assert poolers.get("MEAN").qualified == "runtime/MEAN"
    assert poolers.get("third/MEAN").load().__name__ == "MEAN"
    assert poolers.get("poolers/MEAN").load().__module__ == "millpond_poolers.methods"
    assert caplog.messages == [
        "plugin third (millpond-third 1.0) overrides the built-in pooler 'MEAN' (now poolers/MEAN)",
        "plugin runtime overrides the built-in pooler 'MEAN' (now poolers/MEAN)",
    ]


def test_a_name_of_two_installed_plugins_is_an_error_only_if_it_is_used(install_plugin, brings, installed_only):
    install_plugin(brings("X", "ONE"), "third", distribution="a-third")
    install_plugin(brings("X", "TWO"), "fourth", distribution="b-fourth")
    manager = installed_only()
    assert manager.failures == []
    assert manager.registry.poolers.names() == ("ONE", "TWO", "X")
    with pytest.raises(UnknownNameError, match=r"^pooler 'X' is ambiguous\. Available: third/X, fourth/X$"):
        manager.registry.poolers.get("X")
    assert manager.registry.poolers.get("fourth/X").origin.plugin == "fourth"
