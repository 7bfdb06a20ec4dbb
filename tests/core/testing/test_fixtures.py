"""The fixtures for plugin authors: their results, and that they restore all settings."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import importlib_metadata
import pytest

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.specs import ActivationSpec, PoolerSpec
from millpond.testing import fixtures

SOURCE = """\
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec

@hookimpl
def register_poolers():
    yield PoolerSpec(name="X", target=f"{__name__}:X", tasks=("embed",))

class X: pass
"""


def test_install_plugin_makes_a_plugin_known_to_the_process(install_plugin):
    before = get_plugin_manager()
    folder = install_plugin(SOURCE, "third", version="4.2")
    assert sys.path[0] == str(folder)
    manager = get_plugin_manager()
    assert manager is not before
    entry = manager.registry.poolers.get("X")
    assert (entry.origin.distribution, entry.origin.version) == ("millpond-third", "4.2")
    assert Path(sys.modules[entry.load().__module__].__file__).is_relative_to(folder)


def test_install_plugin_takes_a_module(install_plugin):
    module = ModuleType("made_by_hand")
    module.register_activations = hookimpl(specname="register_activations")(
        lambda: [ActivationSpec(name="by-hand", target=abs)]
    )
    install_plugin(module, "hand", distribution="Hand.Made")
    entry = get_plugin_manager().registry.activations.get("by-hand")
    assert (entry.origin.module, entry.origin.distribution) == ("made_by_hand", "Hand.Made")


def test_install_plugin_leaves_no_trace(tmp_path):
    path, modules, manager = list(sys.path), set(sys.modules), get_plugin_manager()
    steps = fixtures.install_plugin.__wrapped__(tmp_path)
    install = next(steps)
    install(SOURCE, "third")
    install(SOURCE.replace('"X"', '"Y"'), "fourth")
    assert {"X", "Y"} <= set(get_plugin_manager().registry.poolers.names())
    with pytest.raises(StopIteration):
        next(steps)
    assert sys.path == path
    assert set(sys.modules) == modules
    assert get_plugin_manager() is manager
    assert "third" not in importlib_metadata.entry_points(group="millpond").names
    assert "third" not in {info.name for info in PluginManager().plugins()}


def test_plugin_manager_is_fresh(plugin_manager):
    assert plugin_manager is not get_plugin_manager()
    plugin_manager.register(PoolerSpec(name="X", target=object, tasks=()))
    assert "X" not in get_plugin_manager().registry.poolers


def test_registry_contains_only_built_ins(registry, install_plugin):
    install_plugin(SOURCE, "third")
    fresh = PluginManager(ranks=("builtin",)).registry
    for catalogs in (registry.catalogs(), fresh.catalogs()):
        ranks = {entry.origin.rank for catalog in catalogs for entry in catalog.entries(overridden=True)}
        assert ranks == {"builtin"}


def test_pytest_finds_the_fixtures_by_an_entry_point():
    (point,) = importlib_metadata.entry_points(group="pytest11", name="millpond")
    assert point.load() is fixtures


def test_the_fixtures_import_nothing_when_pytest_starts():
    code = (
        "import sys, pytest; old = set(sys.modules); import millpond.testing.fixtures; print(*set(sys.modules) - old)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        "millpond",
        "millpond.testing",
        "millpond.testing.fixtures",
    }
