"""A broken plugin is recorded with its failure and does not affect others: one row of the table per fault."""

import asyncio
import logging
import re
import textwrap

import pluggy
import pytest

from millpond.plugin.hookspecs import API_VERSION
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.specs import SourceSpec
from millpond.types.errors import PluginError, UnknownNameError

BROKEN = {
    "fails to import": ("import", ZeroDivisionError, "1 / 0", "division by zero"),
    "needs what is not installed": ("import", ModuleNotFoundError, "import not_here_at_all", "not_here_at_all"),
    "has a syntax error": ("import", SyntaxError, "def (:", "invalid syntax"),
    "calls sys.exit": ("import", SystemExit, "import sys; sys.exit('no licence')", "no licence"),
    "registers at import": (
        "import",
        PluginError,
        "import millpond; millpond.register(ActivationSpec(name='a', target=print))",
        "must register its components in hooks, not at its import",
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
        r"Unknown hook 'register_pooler'\. Did you mean register_poolers.*optionalhook=True",
    ),
    "invents a hook": (
        "hook",
        PluginError,
        "@hookimpl\ndef on_batch(): yield",
        "Available: register_tasks, register_arch",
    ),
    "forgets the marker": ("hook", PluginError, "def register_poolers(): yield", "register_poolers lacks @hookimpl"),
    "implements nothing": ("hook", PluginError, "", "implements no hook. Available: register_tasks, "),
    "wraps a hook": (
        "hook",
        PluginError,
        "@hookimpl(wrapper=True)\ndef register_poolers(): return (yield)",
        "register_poolers is a hook wrapper",
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
    "raises what is no Exception": (
        "import",
        BaseException,
        "raise BaseException('not an Exception')",
        "BaseException: not an Exception",
    ),
    "is cancelled at import": (
        "import",
        asyncio.CancelledError,
        "import asyncio; raise asyncio.CancelledError('stop')",
        "CancelledError: stop",
    ),
    "raises what is no Exception in a hook": (
        "hook",
        GeneratorExit,
        "@hookimpl\ndef register_poolers(): raise GeneratorExit('early')",
        "GeneratorExit: early",
    ),
    "yields records without end": (
        "value",
        PluginError,
        """
        @hookimpl
        def register_poolers():
            while True:
                yield LEFTOVER
        LEFTOVER = PoolerSpec(name="LEFTOVER", target=print, tasks=())
        """,
        "register_poolers yields more than 10000 records",
    ),
    "raises a very long text": (
        "import",
        ValueError,
        "raise ValueError('x' * 9000)",
        r"x{2000}\.\.\. \(9000 characters\)$",
    ),
    "has a record of a kind that it invents": (
        "value",
        TypeError,
        """
        class Odd(PoolerSpec):
            kind = "odd"
        @hookimpl
        def register_poolers(): yield Odd(name="LEFTOVER", target=print, tasks=())
        """,
        "register_poolers: expected PoolerSpec records, got Odd",
    ),
    "passes nothing in place of a tuple": (
        "value",
        TypeError,
        "@hookimpl\ndef register_poolers(): yield PoolerSpec(name='LEFTOVER', target=print, tasks=None)",
        r"PoolerSpec\('LEFTOVER'\): tasks=None has the wrong type; expected tuple\[str, \.\.\.\]",
    ),
    "has a field of a group with another type": (
        "value",
        TypeError,
        """
        from millpond.plugin.specs import ArchitectureSpec, OutputShape
        @hookimpl
        def register_architectures():
            yield ArchitectureSpec(name="LEFTOVER", target=print, tasks=(), output=OutputShape(num_labels=True))
        """,
        r"output.num_labels=True has the wrong type; expected int \| None",
    ),
    "moves the cursor in a name": (
        "value",
        ValueError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name='a\\x1b[2J', target=print)",
        r"none of them a control character, got 'a\\x1b\[2J'",
    ),
    "has an endless name": (
        "value",
        ValueError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name='a' * 1000, target=print)",
        "at most 200 characters",
    ),
    "yields something else": (
        "value",
        TypeError,
        """
        @hookimpl
        def register_poolers():
            yield PoolerSpec(name="LEFTOVER", target=print, tasks=())
            yield "MAX"
        """,
        "register_poolers: expected PoolerSpec records, got 'MAX'",
    ),
    "yields a record of another kind": (
        "value",
        TypeError,
        "@hookimpl\ndef register_poolers(): yield ActivationSpec(name='LEFTOVER', target=print)",
        "register_poolers: expected PoolerSpec records, got ActivationSpec",
    ),
    "returns a record": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): return ActivationSpec(name='LEFTOVER', target=print)",
        "register_activations: expected a generator of ActivationSpec records, got ActivationSpec",
    ),
    "forgets to yield": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): ActivationSpec(name='LEFTOVER', target=print)",
        "register_activations: expected a generator of ActivationSpec records, got None",
    ),
    "names a record nothing": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name=' ', target=print)",
        "must be text that is not empty, got ' '",
    ),
    "names a record by a number": (
        "value",
        TypeError,
        "@hookimpl\ndef register_activations(): yield ActivationSpec(name=5, target=print)",
        "must be text that is not empty, got 5",
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
        "registers the activation 'LEFTOVER' 2 times",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_does_not_affect_others_and_is_an_error_in_strict_mode(
    install_plugin, monkeypatch, caplog, fault, source, brings, info_of
):
    stage, error, body, words = BROKEN[fault]
    install_plugin(source(body), "broken", version="0.3")
    install_plugin(brings("BEFORE"), "a-neighbour")
    install_plugin(brings("BEHIND"), "z-neighbour")
    manager = get_plugin_manager()

    (failure,) = manager.failures
    assert (failure.origin.plugin, failure.stage) == ("broken", stage)
    assert type(failure.error) is error
    assert failure.origin.distribution == "millpond-broken"
    info = info_of(manager, "broken")
    assert (info.status, info.failure, info.hooks, info.counts) == ("failed", failure, (), {})

    assert {"BEFORE", "BEHIND", "MEAN"} <= set(manager.registry.poolers.names())
    for catalog in manager.registry.catalogs():
        for entry in catalog.entries(overridden=True):
            assert entry.origin.plugin != "broken", "a plugin is taken whole or not at all"

    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.name == "millpond.plugin.manager"
    assert "\n" not in warning.getMessage()
    start = f"plugin broken (millpond-broken 0.3) is not loaded, it failed at {stage}: {error.__name__}: "
    assert warning.getMessage().startswith(start)
    assert re.search(words, warning.getMessage())

    caplog.clear()
    monkeypatch.setenv("MILLPOND_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"plugin broken .* is not loaded") as caught:
        PluginManager()
    assert type(caught.value.__cause__) is error
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_error_whose_text_cannot_be_read_is_recorded(install_plugin, caplog, source, installed_only):
    body = """
    class OddError(Exception):
        def __str__(self): return 5
    raise OddError
    """
    install_plugin(source(body), "broken")
    (failure,) = installed_only().failures
    assert str(failure).endswith("it failed at import: OddError: its text cannot be read (TypeError)")
    assert str(failure) in caplog.messages


def test_a_program_cannot_register_a_record_with_a_wrong_type(manager):
    with pytest.raises(TypeError, match="priority='high' has the wrong type; expected int"):
        manager.register(SourceSpec(name="LEFTOVER", target=print, priority="high"))
    assert "LEFTOVER" not in manager.registry.sources


def test_a_neighbour_is_not_blamed_for_a_hook_misspelled_before_it(install_plugin, source, installed_only):
    install_plugin(source("@hookimpl\ndef register_pooler(): yield"), "a-broken")
    install_plugin(source("@hookimpl(optionalhook=True)\ndef register_pooler(): yield"), "b-newer")
    manager = installed_only()
    assert [(info.name, info.status) for info in manager.plugins()] == [("a-broken", "failed"), ("b-newer", "ok")]


def test_an_optional_hook_of_a_newer_millpond_is_accepted(install_plugin, caplog, brings, installed_only, info_of):
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


def test_a_plugin_may_declare_its_api_version(install_plugin, brings, installed_only):
    install_plugin(f"MILLPOND_API = {API_VERSION}\n" + brings("X"), "exact")
    assert installed_only().registry.poolers.names() == ("X",)


def test_a_target_that_cannot_be_imported_fails_only_when_used(install_plugin, caplog, source):
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


def test_a_failed_plugin_is_named_where_its_name_is_missed(install_plugin, brings, installed_only):
    install_plugin("1 / 0\n" + brings("GONE"), "broken")
    with pytest.raises(UnknownNameError, match=r"Unknown pooler 'GONE'.*Not loaded: broken \(failed\)"):
        installed_only().registry.poolers.get("GONE")
