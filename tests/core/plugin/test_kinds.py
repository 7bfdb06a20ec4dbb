"""Kinds of records that a kit declares with its own hook: same isolation, precedence and names as the core's."""

import sys

import pytest

from millpond.plugin.hookspecs import HOOKS, HOOKSPECS
from millpond.plugin.manager import PluginManager
from millpond.types.errors import PluginError, UnknownNameError

KIT = '''
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar
from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec

@dataclass(frozen=True, kw_only=True)
class ShadeSpec(Spec):
    kind: ClassVar[str] = "shade"
    light: bool = False

@hookspec
def register_shades() -> Iterable[ShadeSpec]:
    """Declare shades."""
    return ()
'''
PLUGIN = """
from millpond.plugin.hookspecs import hookimpl
from shade_kit import ShadeSpec

@hookimpl
def register_shades():
    yield ShadeSpec(name="grey", target="builtins:len", light={light})
"""


@pytest.fixture
def shade_kit(tmp_path, monkeypatch):
    folder = tmp_path / "kits"
    folder.mkdir()
    (folder / "shade_kit.py").write_text(KIT, encoding="utf-8")
    (folder / "other_kit.py").write_text(KIT, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    yield
    HOOKS.pop("register_shades", None)
    HOOKSPECS.pop("register_shades", None)
    for name in ("shade_kit", "other_kit"):
        sys.modules.pop(name, None)


def load(**options):
    return PluginManager(ranks=("installed",), disabled=(), **options)


def test_plugins_yield_records_of_a_kit(shade_kit, install_plugin):
    install_plugin(PLUGIN.format(light=True), "first")
    manager = load(strict=True)
    (info,) = manager.plugins()
    assert (info.hooks, info.counts) == (("register_shades",), {"shade": 1})
    from shade_kit import ShadeSpec

    entry = manager.registry[ShadeSpec].get("first/grey")
    assert entry.spec.light
    assert entry.load() is len
    assert manager.registry.entries("shade") == (entry,)
    manager.register(ShadeSpec(name="grey", target=str))
    assert manager.registry[ShadeSpec].get("grey").qualified == "runtime/grey"


def test_a_plugin_with_a_wrong_record_of_a_kit_does_not_affect_others(shade_kit, install_plugin):
    install_plugin(PLUGIN.format(light=True), "first")
    install_plugin(PLUGIN.format(light="'5'"), "second")
    manager = load()
    assert [info.status for info in manager.plugins()] == ["ok", "failed"]
    (failure,) = manager.failures
    assert failure.origin.plugin == "second"
    assert "ShadeSpec('grey'): light='5' has the wrong type; expected bool" in str(failure)


def test_a_plugin_may_declare_a_kind_itself(shade_kit, install_plugin):
    install_plugin(
        KIT.replace("shade", "tint") + "\nfrom shade_kit import *\nfrom millpond.plugin.hookspecs import hookimpl\n"
        "@hookimpl\ndef register_poolers():\n    yield from ()\n",
        "first",
    )
    try:
        (info,) = load(strict=True).plugins()
        assert info.hooks == ("register_poolers",)
    finally:
        HOOKS.pop("register_tints", None)
        HOOKSPECS.pop("register_tints", None)


def test_a_misspelled_hook_of_a_kit_gets_a_suggestion(shade_kit, install_plugin):
    install_plugin(PLUGIN.format(light=True).replace("def register_shades", "def register_shade"), "first")
    with pytest.raises(PluginError, match=r"Unknown hook 'register_shade'\. Did you mean register_shades or"):
        load(strict=True)


def test_a_kind_is_declared_once(shade_kit):
    import shade_kit as first

    assert HOOKS["register_shades"] is first.ShadeSpec
    with pytest.raises(TypeError, match="the kind 'shade' of other_kit is declared by shade_kit"):
        import other_kit  # noqa: F401
    assert HOOKS["register_shades"] is first.ShadeSpec


def test_a_hook_has_the_name_of_its_kind(shade_kit, tmp_path):
    (tmp_path / "kits" / "other_kit.py").write_text(KIT.replace("def register_shades", "def register_all"))
    with pytest.raises(TypeError, match="the hook of ShadeSpec must be called register_shades, not register_all"):
        import other_kit  # noqa: F401


def test_records_without_a_hook_are_refused(shade_kit, tmp_path, plugin_manager):
    (tmp_path / "kits" / "other_kit.py").write_text(KIT.replace("@hookspec\n", ""))
    from other_kit import ShadeSpec

    with pytest.raises(TypeError, match="expected Spec records"):
        plugin_manager.register(ShadeSpec(name="grey", target=str))
    with pytest.raises(UnknownNameError, match="Unknown kind 'shade'"):
        plugin_manager.registry[ShadeSpec]
    assert plugin_manager.registry.entries("shade") == ()
