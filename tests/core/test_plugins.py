"""The plugin manager: what is found, what is taken, and that a broken plugin harms nobody but who needs it.

The plugins here are real: written to disk, and found by their entry points.
"""

import logging
import re
import subprocess
import sys
import textwrap
from threading import Thread
from types import ModuleType, SimpleNamespace

import pluggy
import pytest

import millpond
from millpond import plugins
from millpond.errors import PluginError, UnknownNameError
from millpond.hookspecs import API_VERSION, hookimpl
from millpond.plugins import Failure, PluginManager, get_plugin_manager
from millpond.registry import Origin
from millpond.specs import ActivationSpec, PoolerSpec

HEAD = """\
from millpond.hookspecs import hookimpl
from millpond.specs import ActivationSpec, PoolerSpec
"""


def source(body):
    return HEAD + textwrap.dedent(body)


def brings(*names):
    lines = [f'    yield PoolerSpec(name="{name}", target=f"{{__name__}}:{name}", tasks=("embed",))' for name in names]
    classes = [f"class {name}: pass" for name in names if name.isidentifier()]
    return source("\n".join(["@hookimpl", "def register_poolers():", *lines, *classes]))


def installed_only(**options):
    return PluginManager(ranks=("installed",), disabled=(), **options)


def info_of(manager, name):
    (info,) = (info for info in manager.plugins() if info.name == name)
    return info


@pytest.fixture
def caplog(caplog):
    caplog.set_level(logging.INFO, logger="millpond")
    return caplog


# --- what is found ----------------------------------------------------------------------------------------------------


def test_a_plugin_is_found_by_its_entry_point_taken_and_listed(install_plugin):
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
    assert (info.version, info.status, info.hooks) == ("3.1", "ok", ("register_poolers",))
    assert (info.counts, info.failure) == ({"pooler": 2}, None)
    assert manager.failures == []


def test_built_ins_come_in_by_the_same_door(registry):
    for name in ("CLS", "LAST", "MEAN"):
        entry = registry.poolers.get(name)
        assert (entry.origin.plugin, entry.origin.rank, entry.origin.distribution) == ("poolers", "builtin", "millpond")


def test_every_built_in_plugin_loads():
    manager = PluginManager(ranks=("builtin",), disabled=(), strict=True)
    assert {info.origin.rank for info in manager.plugins()} == {"builtin"}
    for info in manager.plugins():
        assert info.hooks, info
        assert info.counts, info
        assert info.version == millpond.__version__


def test_every_target_of_the_built_ins_imports():
    manager = PluginManager(ranks=("builtin",), disabled=(), strict=True)
    entries = [entry for catalog in manager.registry.catalogs() for entry in catalog.entries()]
    assert len(entries) > 10
    for entry in entries:
        assert entry.load() is not None, entry


def test_built_ins_load_first_and_the_rest_in_an_order_no_disk_decides(install_plugin):
    for name in ("zebra", "ant", "mole"):
        install_plugin(brings(name.upper()), name)
    found = [info.name for info in PluginManager(disabled=()).plugins()]
    assert found[-3:] == ["ant", "mole", "zebra"]
    assert "poolers" in found[:-3]


def test_a_distribution_found_twice_is_taken_once(install_plugin):
    install_plugin(brings("OLD"), "twice", version="1.0")
    folder = install_plugin(brings("NEW"), "twice", version="2.0")
    sys.path.append(str(folder))
    manager = installed_only()
    assert [info.version for info in manager.plugins()] == ["2.0"], "the first on sys.path counts, as with imports"
    assert manager.registry.poolers.names() == ("NEW",)
    assert manager.failures == []


def test_a_line_that_stands_twice_is_taken_once(install_plugin):
    folder = install_plugin(brings("X"), "good")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(file.read_text() + file.read_text())
    assert [info.status for info in installed_only().plugins()] == ["ok"]


def test_an_entry_point_without_a_distribution_counts_as_installed(install_plugin):
    folder = install_plugin(brings("X"), "orphan", distribution="millpond")
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.unlink()
    info = info_of(installed_only(), "orphan")
    assert (info.status, info.origin.rank, info.origin.distribution, info.version) == ("ok", "installed", "", "")


def test_what_the_description_of_a_distribution_says_is_not_its_name(install_plugin):
    folder = install_plugin(brings("X"), "good")
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text() + "\nName: millpond\nVersion: 9\n")
    assert info_of(installed_only(), "good").version == "1.0"


def test_a_plugin_can_be_an_object_of_a_module(install_plugin):
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


def test_hooks_may_return_a_list_or_nothing_to_yield(install_plugin):
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


# --- isolation: each row of the table ---------------------------------------------------------------------------------

BROKEN = {
    "fails to import": ("import", ZeroDivisionError, "1 / 0", "division by zero"),
    "needs what is not installed": ("import", ModuleNotFoundError, "import not_here_at_all", "not_here_at_all"),
    "has a syntax error": ("import", SyntaxError, "def (:", "invalid syntax"),
    "calls sys.exit": ("import", SystemExit, "import sys; sys.exit('no licence')", "no licence"),
    "registers at import": (
        "import",
        PluginError,
        "import millpond; millpond.register(ActivationSpec(name='a', target=print))",
        "names what it brings by hooks, not at its import",
    ),
    "wants a newer API": ("version", PluginError, "MILLPOND_API = 2", "MILLPOND_API = 2.*version 1; update Millpond"),
    "was written for an older API": ("version", PluginError, "MILLPOND_API = 0", "version 1; update the plugin"),
    "wants no API at all": ("version", PluginError, "MILLPOND_API = 'latest'", "MILLPOND_API = 'latest'"),
    "has a hook with an argument": (
        "hook",
        pluggy.PluginValidationError,
        """
        @hookimpl
        def register_activations():
            yield ActivationSpec(name="LEFTOVER", target=print)
        @hookimpl
        def register_poolers(registry):
            yield PoolerSpec(name="LEFTOVER", target=print, tasks=())
        """,
        "Argument.*registry.*can not be found in the hookspec",
    ),
    "misspells a hook": (
        "hook",
        PluginError,
        "@hookimpl\ndef register_pooler(): yield",
        r"no hook 'register_pooler'; did you mean register_poolers.*optionalhook=True",
    ),
    "invents a hook": ("hook", PluginError, "@hookimpl\ndef on_batch(): yield", "one of register_tasks, register_arch"),
    "forgets the marker": ("hook", PluginError, "def register_poolers(): yield", "register_poolers lacks @hookimpl"),
    "implements nothing": ("hook", PluginError, "", "implements no hook; there are: register_tasks, "),
    "wraps a hook": (
        "hook",
        PluginError,
        "@hookimpl(wrapper=True)\ndef register_poolers(): return (yield)",
        "register_poolers wraps a hook",
    ),
    "raises half way": (
        "hook",
        RuntimeError,
        """
        @hookimpl
        def register_activations():
            yield ActivationSpec(name="LEFTOVER", target=print)
        @hookimpl
        def register_poolers():
            yield PoolerSpec(name="LEFTOVER", target=print, tasks=())
            raise RuntimeError("half way")
        """,
        "half way",
    ),
    "exits in a hook": ("hook", SystemExit, "@hookimpl\ndef register_poolers(): raise SystemExit(4)", "SystemExit: 4"),
    "yields something else": (
        "value",
        TypeError,
        """
        @hookimpl
        def register_poolers():
            yield PoolerSpec(name="LEFTOVER", target=print, tasks=())
            yield "MAX"
        """,
        "register_poolers gave 'MAX'; it takes PoolerSpec records",
    ),
    "yields a record of another kind": (
        "value",
        TypeError,
        "@hookimpl\ndef register_poolers(): yield ActivationSpec(name='LEFTOVER', target=print)",
        "register_poolers gave ActivationSpec.*it takes PoolerSpec records",
    ),
    "returns a record": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): return ActivationSpec(name='LEFTOVER', target=print)",
        "register_activations returned ActivationSpec.*it should yield ActivationSpec records",
    ),
    "forgets to yield": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): ActivationSpec(name='LEFTOVER', target=print)",
        "register_activations returned None; it should yield",
    ),
    "names a record nothing": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name=' ', target=print)",
        "the name ' '; a name is text, and not empty",
    ),
    "names a record by a number": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name=5, target=print)",
        "the name 5; a name is text",
    ),
    "gives one name to two records": (
        "register",
        ValueError,
        """
        @hookimpl
        def register_activations():
            yield ActivationSpec(name="LEFTOVER", target=print)
            yield ActivationSpec(name="LEFTOVER", target=len)
        """,
        "names the activation 'LEFTOVER' 2 times",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_booked_and_harms_nobody(install_plugin, caplog, fault):
    stage, error, body, words = BROKEN[fault]
    install_plugin(source(body), "broken", version="0.3")
    install_plugin(brings("BEFORE"), "a-neighbour")
    install_plugin(brings("BEHIND"), "z-neighbour")
    manager = get_plugin_manager()

    (failure,) = manager.failures
    assert (failure.plugin, failure.stage) == ("broken", stage)
    assert type(failure.error) is error
    assert failure.origin.distribution == "millpond-broken"
    info = info_of(manager, "broken")
    assert (info.status, info.failure, info.hooks, info.counts) == ("failed", failure, (), {})

    assert {"BEFORE", "BEHIND", "MEAN"} <= set(manager.registry.poolers.names())
    for catalog in manager.registry.catalogs():
        for entry in catalog.entries(overridden=True):
            assert entry.origin.plugin != "broken", "a plugin is taken whole or not at all"

    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.name == "millpond.plugins"
    assert "\n" not in warning.getMessage()
    start = f"plugin broken (millpond-broken 0.3) is not loaded, it failed at {stage}: {error.__name__}: "
    assert warning.getMessage().startswith(start)
    assert re.search(words, warning.getMessage())


@pytest.mark.parametrize("fault", BROKEN)
def test_strict_raises_what_would_be_logged(install_plugin, monkeypatch, caplog, fault):
    _, error, body, _ = BROKEN[fault]
    install_plugin(source(body), "broken")
    monkeypatch.setenv("MILLPOND_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"plugin broken .* is not loaded") as caught:
        get_plugin_manager()
    assert type(caught.value.__cause__) is error
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_neighbour_is_not_blamed_for_a_hook_misspelled_before_it(install_plugin):
    install_plugin(source("@hookimpl\ndef register_pooler(): yield"), "a-broken")
    install_plugin(source("@hookimpl(optionalhook=True)\ndef register_pooler(): yield"), "b-newer")
    manager = installed_only()
    assert [(info.name, info.status) for info in manager.plugins()] == [("a-broken", "failed"), ("b-newer", "ok")]


def test_an_optional_hook_of_a_newer_millpond_is_let_through(install_plugin, caplog):
    body = """
    @hookimpl(optionalhook=True)
    def register_tokenizers(later):
        raise AssertionError("nobody asks")
    """
    install_plugin(brings("X") + textwrap.dedent(body), "newer")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("X",)
    assert info_of(manager, "newer").hooks == ("register_poolers",)
    assert caplog.messages == []


def test_a_plugin_may_say_the_api_it_was_written_for(install_plugin):
    install_plugin(f"MILLPOND_API = {API_VERSION}\n" + brings("X"), "exact")
    assert installed_only().registry.poolers.names() == ("X",)


def test_a_target_that_does_not_import_is_an_error_at_use_alone(install_plugin, caplog):
    body = """
    @hookimpl
    def register_poolers():
        yield PoolerSpec(name="MEAN", target="not_here_at_all:Mean", tasks=("embed",))
    """
    install_plugin(source(body), "hollow")
    manager = PluginManager(disabled=())
    assert manager.failures == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    with pytest.raises(
        UnknownNameError, match=r"pooler 'MEAN' of plugin hollow .* 'not_here_at_all:Mean' raised Module"
    ):
        manager.registry.poolers.get("MEAN").load()
    assert manager.registry.poolers.get("poolers/MEAN").load()


def test_a_failed_plugin_is_named_where_its_name_is_missed(install_plugin):
    install_plugin("1 / 0\n" + brings("GONE"), "broken")
    with pytest.raises(UnknownNameError, match=r"no pooler 'GONE'.*Not loaded: broken \(failed\)"):
        installed_only().registry.poolers.get("GONE")


# --- isolation: names and files ---------------------------------------------------------------------------------------


def test_the_name_of_a_built_in_plugin_cannot_be_taken(install_plugin):
    install_plugin(brings("MEAN"), "poolers", distribution="impostor")
    manager = PluginManager(disabled=())
    (failure,) = manager.failures
    assert (failure.plugin, failure.stage) == ("poolers", "register")
    assert "a plugin of that name already, poolers (millpond " in str(failure.error)
    assert manager.registry.poolers.get("MEAN").origin.rank == "builtin"
    assert "impostor_poolers_plugin" not in sys.modules


def test_two_plugins_of_one_name(install_plugin):
    install_plugin(brings("SECOND"), "same", distribution="b-dist")
    install_plugin(brings("FIRST"), "same", distribution="a-dist")
    manager = installed_only()
    assert manager.registry.poolers.names() == ("FIRST",)
    assert [info.status for info in manager.plugins()] == ["ok", "failed"]
    assert str(manager.failures[0]) == (
        "plugin same (b-dist 1.0) is not loaded, it failed at register: ValueError: there is a plugin of that name "
        "already, same (a-dist 1.0); name this one otherwise"
    )


def test_a_plugin_name_with_a_slash_is_refused(install_plugin):
    install_plugin(brings("X"), "a/b", distribution="slashed")
    (failure,) = installed_only().failures
    assert (failure.stage, "'a/b' is no name for a plugin" in str(failure.error)) == ("register", True)


def test_the_name_of_what_programs_register_is_kept_for_them(install_plugin):
    install_plugin(brings("X"), "runtime")
    manager = installed_only()
    (failure,) = manager.failures
    assert (failure.stage, "the name 'runtime' is kept" in str(failure.error)) == ("register", True)
    assert manager.register(PoolerSpec(name="Y", target=object, tasks=())).qualified == "runtime/Y"
    with pytest.raises(PluginError, match="the name 'runtime' is kept"):
        manager.register_plugin(SimpleNamespace(), "runtime")


def test_one_module_under_two_names_is_taken_once(install_plugin):
    folder = install_plugin(brings("X"), "good")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_text(file.read_text() + file.read_text().splitlines()[1].replace("good =", "other ="))
    manager = installed_only()
    assert [(info.name, info.status) for info in manager.plugins()] == [("good", "ok"), ("other", "failed")]
    assert "loaded already, under the name 'good'" in str(manager.failures[0])


@pytest.mark.parametrize("text", ["[millpond]\nno equals sign here\n", "[millpond]\nbroken = not an import string!\n"])
def test_a_damaged_entry_points_file_of_a_plugin(install_plugin, text):
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
def test_a_damaged_entry_points_file_of_somebody_else_is_not_our_business(install_plugin, caplog, data):
    folder = install_plugin(brings("X"), "else")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_bytes(data)
    install_plugin(brings("Y"), "good")
    manager = installed_only()
    assert (manager.registry.poolers.names(), manager.failures) == (("Y",), [])
    assert caplog.messages == []


# --- who wins ---------------------------------------------------------------------------------------------------------


def test_installed_overrides_built_in_runtime_overrides_both_and_each_has_a_name(install_plugin, caplog):
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


def test_two_installed_plugins_with_one_name_harm_only_who_uses_it(install_plugin):
    install_plugin(brings("X", "ONE"), "third", distribution="a-third")
    install_plugin(brings("X", "TWO"), "fourth", distribution="b-fourth")
    manager = installed_only()
    assert manager.failures == []
    assert manager.registry.poolers.names() == ("ONE", "TWO", "X")
    with pytest.raises(UnknownNameError, match=r"^pooler 'X' is ambiguous; say which: third/X, fourth/X$"):
        manager.registry.poolers.get("X")
    assert manager.registry.poolers.get("fourth/X").origin.plugin == "fourth"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_disabled_plugins_are_not_even_imported_built_in_or_not(install_plugin, monkeypatch, caplog):
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


def test_disabling_what_is_not_there_is_told(install_plugin, caplog):
    install_plugin(brings("X"), "third")
    PluginManager(ranks=("installed",), disabled=("thrid",))
    (message,) = caplog.messages
    assert re.fullmatch(r"plugin 'thrid' is to be left out, but there is none; there are: .*poolers.*third", message)


@pytest.mark.parametrize("value", ["", "0", " 0 "])
def test_not_strict(install_plugin, monkeypatch, value):
    monkeypatch.setenv("MILLPOND_STRICT_PLUGINS", value)
    install_plugin("1 / 0\n", "broken")
    assert len(get_plugin_manager().failures) == 1


def test_strict_names_all_failures_at_once(install_plugin):
    install_plugin("1 / 0\n", "one")
    install_plugin("import not_here_at_all\n", "two")
    with pytest.raises(PluginError, match=r"plugin one .* ZeroDivisionError: .*; plugin two .* ModuleNotFoundError: "):
        installed_only(strict=True)


def test_a_failure_is_logged_in_full_for_who_debugs(install_plugin, caplog):
    caplog.set_level(logging.DEBUG, logger="millpond")
    install_plugin("1 / 0\n", "broken")
    installed_only()
    (record,) = (record for record in caplog.records if record.levelno == logging.DEBUG)
    assert isinstance(record.exc_info[1], ZeroDivisionError)


# --- registered by the program ----------------------------------------------------------------------------------------


def test_register_books_a_record_of_the_process(install_plugin):
    install_plugin(brings("X"), "third")
    mine = PoolerSpec(name="X", target=object, tasks=("embed",))
    millpond.register(mine)
    entry = get_plugin_manager().registry.poolers.get("X")
    assert (entry.spec, entry.qualified) == (mine, "runtime/X")
    assert "X" not in PluginManager(ranks=("builtin",)).registry.poolers


def test_runtime_records_can_bear_a_plugins_name_and_be_replaced(plugin_manager):
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
    with pytest.raises(ValueError, match=r"a plugin of that name already|is no name for a plugin"):
        plugin_manager.register(PoolerSpec(name="MEAN", target=object, tasks=()), name)
    assert plugin_manager.plugins() == before


@pytest.mark.parametrize("value", ["MEAN", None, PoolerSpec, PoolerSpec(name="", target=object, tasks=())])
def test_register_takes_records_alone(plugin_manager, value):
    before = plugin_manager.plugins()
    with pytest.raises(TypeError, match=r"register\(\) gave"):
        plugin_manager.register(value)
    assert plugin_manager.plugins() == before


def test_register_plugin_takes_a_module_or_an_object(plugin_manager):
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


def test_register_plugin_raises_and_leaves_no_trace(plugin_manager):
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
    with pytest.raises(PluginError, match="loaded already, under the name 'one'"):
        plugin_manager.register_plugin(plugin, "two")
    with pytest.raises(PluginError, match="a plugin of that name already, one"):
        plugin_manager.register_plugin(plugin, "one")


# --- the manager of the process ---------------------------------------------------------------------------------------


def test_the_process_has_one_manager_whoever_asks_first(install_plugin):
    install_plugin("import time\ntime.sleep(0.05)\n" + brings("X"), "slow")
    seen = []
    threads = [Thread(target=lambda: seen.append(get_plugin_manager())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert set(map(id, seen)) == {id(get_plugin_manager())}
    assert "X" in get_plugin_manager().registry.poolers


def test_the_only_state_of_the_module_is_the_cached_manager():
    state = {
        name: value
        for name, value in vars(plugins).items()
        if not name.startswith("__") and isinstance(value, (dict, list, set, plugins.Process, PluginManager))
    }
    assert state == {"_process": state["_process"], "HOOKS": plugins.HOOKS}


def test_a_failure_tells_its_story_in_one_line():
    failure = Failure("third", "hook", ValueError("one\n  two\n"))
    assert str(failure) == "plugin third is not loaded, it failed at hook: ValueError: one two"


LOAD = """
import sys, time
from millpond.plugins import PluginManager
start = time.process_time()  # not the clock on the wall: other programs' work is not ours
manager = PluginManager(ranks=("builtin",))
print(time.process_time() - start)
assert not manager.failures, manager.failures
print(sorted({"torch", "numpy", "transformers", "tokenizers", "safetensors", "pydantic", "typer"} & set(sys.modules)))
"""


def test_loading_the_built_ins_is_quick_and_imports_nothing_heavy():
    outputs = [
        subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(5)
    ]
    assert {heavy for _, heavy in outputs} == {"[]"}
    assert min(float(seconds) for seconds, _ in outputs) < 0.03
