"""Records and plugins that the running program registers."""

from types import ModuleType, SimpleNamespace

import pytest

import millpond
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.registry import Origin
from millpond.plugin.specs import ActivationSpec, PoolerSpec
from millpond.types.errors import PluginError


def test_register_books_a_record_of_the_process(install_plugin, brings):
    install_plugin(brings("X"), "third")
    mine = PoolerSpec(name="X", target=object, tasks=("embed",))
    millpond.register(mine)
    entry = get_plugin_manager().registry.poolers.get("X")
    assert (entry.spec, entry.qualified) == (mine, "runtime/X")
    assert "X" not in PluginManager(ranks=("builtin",)).registry.poolers


def test_runtime_records_can_have_a_plugins_name_and_be_replaced(plugin_manager, info_of):
    first = plugin_manager.register(ActivationSpec(name="mine", target=len), "notebook")
    second = plugin_manager.register(ActivationSpec(name="mine", target=abs), "notebook")
    other = plugin_manager.register(ActivationSpec(name="other", target=abs))
    assert first.qualified == second.qualified == "notebook/mine"
    assert plugin_manager.registry.activations.get("mine") is second
    assert other.qualified == "runtime/other"
    assert (info_of(plugin_manager, "notebook").status, info_of(plugin_manager, "notebook").counts) == (
        "ok",
        {"activation": 1},
    )
    assert info_of(plugin_manager, "runtime").origin == Origin(plugin="runtime", rank="runtime")


@pytest.mark.parametrize("name", ["poolers", "a/b", ""])
def test_runtime_records_cannot_pose_as_those_of_a_loaded_plugin(plugin_manager, name):
    before = plugin_manager.plugins()
    with pytest.raises(ValueError, match=r"plugin with this name is already loaded|invalid plugin name"):
        plugin_manager.register(PoolerSpec(name="MEAN", target=object, tasks=()), name)
    assert plugin_manager.plugins() == before


@pytest.mark.parametrize("value", ["MEAN", None, PoolerSpec, PoolerSpec(name="", target=object, tasks=())])
def test_register_accepts_only_records(plugin_manager, value):
    before = plugin_manager.plugins()
    with pytest.raises(TypeError, match=r"register\(\): (expected \w*Spec records, got|the name of a record)"):
        plugin_manager.register(value)
    assert plugin_manager.plugins() == before


def test_register_plugin_takes_a_module_or_an_object(plugin_manager, info_of):
    module = ModuleType("by_hand")

    @hookimpl
    def register_poolers():
        yield PoolerSpec(name="BY_HAND", target=object, tasks=())

    module.register_poolers = register_poolers

    class Plugin:
        @hookimpl
        def register_activations(self):
            yield ActivationSpec(name="by_object", target=abs)

    plugin_manager.register_plugin(module, "one")
    plugin_manager.register_plugin(Plugin(), "two")
    registry = plugin_manager.registry
    assert registry.poolers.get("BY_HAND").origin == Origin(plugin="one", rank="runtime", module="by_hand")
    assert registry.activations.get("two/by_object").load() is abs
    assert info_of(plugin_manager, "two").hooks == ("register_activations",)


def test_register_plugin_raises_and_leaves_no_trace(plugin_manager, info_of):
    class Plugin:
        @hookimpl
        def register_activations(self):
            yield ActivationSpec(name="leftover", target=abs)

        @hookimpl
        def register_poolers(self):
            raise KeyError("half way")

    plugin = Plugin()
    with pytest.raises(PluginError, match="plugin mine is not loaded, it failed at hook: KeyError") as caught:
        plugin_manager.register_plugin(plugin, "mine")
    assert isinstance(caught.value.__cause__, KeyError)
    assert "leftover" not in plugin_manager.registry.activations
    assert info_of(plugin_manager, "mine").status == "failed"
    assert plugin_manager.registry.absent == {"mine": "failed"}
    del Plugin.register_poolers
    plugin_manager.register_plugin(plugin, "mine")
    assert "mine/leftover" in plugin_manager.registry.activations
    assert plugin_manager.registry.absent == {}


def test_register_plugin_does_not_take_a_plugin_twice(plugin_manager):
    plugin = SimpleNamespace(register_activations=hookimpl(lambda: [ActivationSpec(name="a", target=abs)]))
    plugin_manager.register_plugin(plugin, "one")
    with pytest.raises(PluginError, match="already loaded with the name 'one'"):
        plugin_manager.register_plugin(plugin, "two")
    with pytest.raises(PluginError, match="a plugin with this name is already loaded: one"):
        plugin_manager.register_plugin(plugin, "one")
