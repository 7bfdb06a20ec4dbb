"""Discovery of plugins by their entry points: real ones, written to disk, and the built-in ones."""

import sys

import millpond
from millpond.plugin.manager import PluginManager
from millpond.plugin.registry import Origin


def test_a_plugin_is_found_by_its_entry_point_loaded_and_listed(install_plugin, brings, installed_only, info_of):
    install_plugin(brings("ONE", "TWO"), "good", version="3.1")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("ONE", "TWO")
    assert manager.registry.poolers.get("ONE").load().__name__ == "ONE"
    info = info_of(manager, "good")
    assert info.origin == Origin(
        plugin="good",
        rank="installed",
        distribution="millpond-good",
        version="3.1",
        module="millpond_good_good_plugin",
    )
    assert (info.origin.version, info.status, info.hooks) == ("3.1", "ok", ("register_poolers",))
    assert (info.counts, info.failure) == ({"pooler": 2}, None)
    assert manager.failures == []


def test_built_in_plugins_are_registered_like_others(registry):
    for name in ("CLS", "LAST", "MEAN"):
        entry = registry.poolers.get(name)
        assert (entry.origin.plugin, entry.origin.rank, entry.origin.distribution) == ("poolers", "builtin", "millpond")


def test_every_built_in_plugin_loads():
    manager = PluginManager(ranks=("builtin",), disabled=(), strict=True)
    assert {info.origin.rank for info in manager.plugins()} == {"builtin"}
    for info in manager.plugins():
        assert info.hooks, info
        assert info.counts, info
        assert info.origin.version == millpond.__version__


def test_every_target_of_the_built_ins_imports():
    manager = PluginManager(ranks=("builtin",), disabled=(), strict=True)
    catalogs = [catalog for catalog in manager.registry.catalogs() if catalog.kind != "published_model"]  # no targets
    entries = [entry for catalog in catalogs for entry in catalog.entries()]
    assert len(entries) > 10
    for entry in entries:
        assert entry.load() is not None, entry


def test_built_ins_load_first_and_the_rest_in_an_order_no_disk_decides(install_plugin, brings):
    for name in ("zebra", "ant", "mole"):
        install_plugin(brings(name.upper()), name)
    names = [info.name for info in PluginManager(disabled=()).plugins()]
    assert names[-3:] == ["ant", "mole", "zebra"]
    assert "poolers" in names[:-3]


def test_a_distribution_found_twice_is_loaded_once(install_plugin, brings, installed_only):
    install_plugin(brings("OLD"), "twice", version="1.0")
    folder = install_plugin(brings("NEW"), "twice", version="2.0")
    sys.path.append(str(folder))
    manager = installed_only()
    assert [info.origin.version for info in manager.plugins()] == ["2.0"], (
        "the first on sys.path counts, as with imports"
    )
    assert manager.registry.poolers.names() == ("NEW",)
    assert manager.failures == []


def test_a_repeated_line_is_used_once(install_plugin, brings, installed_only):
    folder = install_plugin(brings("X"), "good")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(file.read_text() + file.read_text())
    assert [info.status for info in installed_only().plugins()] == ["ok"]


def test_an_entry_point_without_a_distribution_counts_as_installed(install_plugin, brings, installed_only, info_of):
    folder = install_plugin(brings("X"), "orphan", distribution="millpond")
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.unlink()
    info = info_of(installed_only(), "orphan")
    assert (info.status, info.origin.rank, info.origin.distribution, info.origin.version) == ("ok", "installed", "", "")


def test_the_description_of_a_distribution_is_not_its_name(install_plugin, brings, installed_only, info_of):
    folder = install_plugin(brings("X"), "good")
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text() + "\nName: millpond\nVersion: 9\n")
    assert info_of(installed_only(), "good").origin.version == "1.0"


def test_a_plugin_can_be_an_object_of_a_module(install_plugin, source, installed_only, info_of):
    body = """
    class Plugin:
        @hookimpl
        def register_poolers(self):
            yield PoolerSpec(name="X", target=object, tasks=("embed",))
    plugin = Plugin()
    """
    folder = install_plugin(source(body), "instance")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(file.read_text().rstrip() + ":plugin\n")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("X",)
    assert info_of(manager, "instance").origin.module == "millpond_instance_instance_plugin"


def test_hooks_may_return_a_list_or_nothing_to_yield(install_plugin, source, installed_only, info_of):
    body = """
    @hookimpl
    def register_poolers():
        return [PoolerSpec(name="X", target=object, tasks=("embed",))]

    @hookimpl(specname="register_activations")
    def my_activations():
        yield from ()
    """
    install_plugin(source(body), "listing")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("X",)
    assert info_of(manager, "listing").hooks == ("register_poolers", "register_activations")
    assert info_of(manager, "listing").counts == {"pooler": 1}
