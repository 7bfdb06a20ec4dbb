"""Reserved, duplicate and missing names of plugins, and damaged files of entry points."""

import sys
from types import SimpleNamespace

import pytest

from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import PoolerSpec
from millpond.types.errors import PluginError


def test_the_name_of_a_built_in_plugin_cannot_be_taken(install_plugin, brings):
    install_plugin(brings("MEAN"), "poolers", distribution="impostor")
    manager = PluginManager(disabled=())
    (failure,) = manager.failures
    assert (failure.origin.plugin, failure.stage) == ("poolers", "register")
    assert "a plugin with this name is already loaded: poolers (millpond " in str(failure.error)
    assert manager.registry.poolers.get("MEAN").origin.rank == "builtin"
    assert "impostor_poolers_plugin" not in sys.modules


def test_two_plugins_of_one_name(install_plugin, brings, installed_only):
    install_plugin(brings("SECOND"), "same", distribution="b-dist")
    install_plugin(brings("FIRST"), "same", distribution="a-dist")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("FIRST",)
    assert [info.status for info in manager.plugins()] == ["ok", "failed"]
    assert str(manager.failures[0]) == (
        "plugin same (b-dist 1.0) is not loaded, it failed at register: ValueError: a plugin with this name is "
        "already loaded: same (a-dist 1.0). Use another name"
    )


def test_a_plugin_name_with_a_slash_is_refused(install_plugin, brings, installed_only):
    install_plugin(brings("X"), "a/b", distribution="slashed")
    (failure,) = installed_only().failures
    assert (failure.stage, "invalid plugin name 'a/b'" in str(failure.error)) == ("register", True)


def test_the_name_of_runtime_plugins_is_reserved(install_plugin, brings, installed_only):
    install_plugin(brings("X"), "runtime")
    manager = installed_only()
    (failure,) = manager.failures
    assert (failure.stage, "the plugin name 'runtime' is reserved" in str(failure.error)) == ("register", True)
    assert manager.register(PoolerSpec(name="Y", target=object, tasks=())).qualified == "runtime/Y"
    with pytest.raises(PluginError, match="the plugin name 'runtime' is reserved"):
        manager.register_plugin(SimpleNamespace(), "runtime")


def test_one_module_under_two_names_is_loaded_once(install_plugin, brings, installed_only):
    folder = install_plugin(brings("X"), "good")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(file.read_text() + file.read_text().splitlines()[1].replace("good =", "other ="))
    manager = installed_only()
    assert [(info.name, info.status) for info in manager.plugins()] == [("good", "ok"), ("other", "failed")]
    assert "already loaded with the name 'good'" in str(manager.failures[0])


@pytest.mark.parametrize("text", ["[millpond]\nno equals sign here\n", "[millpond]\nbroken = not an import string!\n"])
def test_a_damaged_entry_points_file_of_a_plugin(install_plugin, text, brings, installed_only):
    folder = install_plugin(brings("X"), "broken")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(text)
    install_plugin(brings("Y"), "good")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("Y",)
    (failure,) = manager.failures
    assert failure.stage == "import"
    assert failure.origin.distribution == "millpond-broken"


@pytest.mark.parametrize(
    "data", [b"no section, no equals sign\n", b"[console_scripts]\nno equals sign\n", b"\xff\xfe\x00"]
)
def test_a_damaged_entry_points_file_of_somebody_else_is_not_our_business(
    install_plugin, caplog, data, brings, installed_only
):
    folder = install_plugin(brings("X"), "else")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_bytes(data)
    install_plugin(brings("Y"), "good")
    manager = installed_only()
    assert (manager.registry.poolers.names(), manager.failures) == (("Y",), [])
    assert caplog.messages == []
