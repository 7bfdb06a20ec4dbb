"""The registry: precedence, qualified names, ambiguity, targets imported at first use, and its errors."""

import logging
import sys
from threading import Barrier, Thread

import pytest

from millpond.plugin.hookspecs import HOOKS
from millpond.plugin.registry import Entry, Origin, Registry
from millpond.plugin.specs import ActivationSpec, PoolerSpec, Spec
from millpond.types.errors import UnknownNameError
from millpond_http.kinds import RouteSpec

POOLERS = Origin(plugin="poolers", rank="builtin", distribution="millpond", version="0.1.0")
THIRD = Origin(plugin="third", rank="installed", distribution="millpond-third", version="2.0")
FOURTH = Origin(plugin="fourth", rank="installed", distribution="millpond-fourth", version="1.0")
RUNTIME = Origin(plugin="runtime", rank="runtime")


def pooler(name, target="none:Nothing"):
    return PoolerSpec(name=name, target=target, tasks=("embed",))


@pytest.fixture
def registry():
    """An empty registry, in place of the fixture of that name that holds the built-ins."""
    return Registry()


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.setitem(sys.modules, name, None)  # so that it is taken out again
        del sys.modules[name]

    return write


def test_there_is_a_catalog_for_each_kind_and_each_record(registry):
    assert [catalog.record for catalog in registry.catalogs()] == list(HOOKS.values())
    for hook, record in HOOKS.items():
        catalog = registry.catalog(record.kind)
        assert catalog is registry[record]
        assert catalog.record is record
        assert catalog.hook == hook == f"register_{record.kind}s"
        assert catalog.names() == ()
    assert registry.poolers is registry[PoolerSpec]


def test_unknown_kind_names_the_kinds(registry):
    with pytest.raises(
        UnknownNameError, match=r"Unknown kind 'poolers' \(did you mean 'pooler'\?\)\. Available: task, arch"
    ):
        registry.catalog("poolers")


def test_only_records_are_registered(registry):
    with pytest.raises(TypeError, match="'MEAN' is not a record; expected one of TaskSpec, ArchitectureSpec"):
        registry.register("MEAN", POOLERS)
    with pytest.raises(TypeError, match="is not a record"):
        registry.register(Spec(name="MEAN", target="none:Nothing"), POOLERS)


def test_names_and_entries_are_sorted(registry):
    for name in ("MEAN", "ALL", "CLS"):
        registry.register(pooler(name), POOLERS)
    assert registry.poolers.names() == ("ALL", "CLS", "MEAN")
    assert [entry.spec.name for entry in registry.poolers.entries()] == ["ALL", "CLS", "MEAN"]


def test_records_that_are_added_later_are_among_the_entries_and_groups(registry):
    registry.register(pooler("CLS"), POOLERS)
    assert [entry.spec.name for entry in registry.poolers.entries()] == ["CLS"]
    assert set(registry.poolers.grouped("tasks")) == {("embed",)}
    registry.register(pooler("ALL"), POOLERS)
    registry.register(PoolerSpec(name="STEP", target="none:Nothing", tasks=("reward",)), POOLERS)
    assert [entry.spec.name for entry in registry.poolers.entries()] == ["ALL", "CLS", "STEP"]
    names = {key: [it.spec.name for it in group] for key, group in registry.poolers.grouped("tasks").items()}
    assert names == {("embed",): ["ALL", "CLS"], ("reward",): ["STEP"]}
    assert registry.poolers.entries() is registry.poolers.entries()  # ranked once


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_runtime_wins_over_installed_wins_over_built_in_in_any_order(registry, order):
    origins = (POOLERS, THIRD, RUNTIME)
    for rank in order:
        registry.register(pooler("MEAN"), origins[rank])
    assert registry.poolers.get("MEAN").origin is RUNTIME
    assert [entry.origin for entry in registry.poolers.entries()] == [RUNTIME]
    assert {entry.origin for entry in registry.poolers.entries(overridden=True)} == set(origins)


def test_installed_wins_over_built_in(registry):
    registry.register(pooler("MEAN"), THIRD)
    registry.register(pooler("MEAN"), POOLERS)
    assert registry.poolers.get("MEAN").origin is THIRD


def test_a_qualified_name_selects_its_plugin_despite_overrides(registry):
    for origin in (POOLERS, THIRD, RUNTIME):
        registry.register(pooler("MEAN"), origin)
    for origin in (POOLERS, THIRD, RUNTIME):
        entry = registry.poolers.get(f"{origin.plugin}/MEAN")
        assert entry.origin is origin
        assert entry.qualified == f"{origin.plugin}/MEAN"


def test_two_installed_plugins_with_one_name_fail_only_when_used(registry):
    registry.register(pooler("X"), THIRD)
    registry.register(pooler("X"), FOURTH)
    registry.register(pooler("Y"), FOURTH)
    message = r"^pooler 'X' is ambiguous\. Available: third/X, fourth/X$"
    with pytest.raises(UnknownNameError, match=message):
        registry.poolers.get("X")
    with pytest.raises(UnknownNameError, match=message):
        registry.poolers.find("X")
    assert "X" in registry.poolers
    assert registry.poolers.get("fourth/X").origin is FOURTH
    assert registry.poolers.get("Y").origin is FOURTH
    assert [entry.qualified for entry in registry.poolers.entries()] == ["third/X", "fourth/X", "fourth/Y"]


def test_a_runtime_record_settles_an_ambiguity(registry):
    for origin in (THIRD, FOURTH, RUNTIME):
        registry.register(pooler("X"), origin)
    assert registry.poolers.get("X").origin is RUNTIME


def test_the_same_plugin_again_replaces_its_record(registry):
    registry.register(pooler("X", "one:One"), RUNTIME)
    registry.register(pooler("X", "two:Two"), RUNTIME)
    assert registry.poolers.get("X").spec.target == "two:Two"
    assert len(registry.poolers.entries(overridden=True)) == 1


def test_names_with_slashes_work_bare_and_qualified(registry):
    server = Origin(plugin="server", rank="builtin", distribution="millpond", version="0.1.0")
    registry.register(RouteSpec(name="POST /v1/embeddings", target="none:Nothing"), server)
    assert registry[RouteSpec].get("POST /v1/embeddings").origin is server
    assert registry[RouteSpec].get("server/POST /v1/embeddings").origin is server
    assert "POST /v1/embeddings" in registry[RouteSpec]
    assert registry[RouteSpec].find("POST /v1/embedding") is None


def test_a_name_cannot_pose_as_the_qualified_name_of_another_plugin(registry):
    registry.register(pooler("MEAN"), POOLERS)
    registry.register(pooler("poolers/MEAN"), THIRD)
    assert registry.poolers.get("poolers/MEAN").origin is POOLERS


def test_find_returns_none_for_an_unknown_name(registry):
    registry.register(pooler("MEAN"), POOLERS)
    for name in ("MEDIAN", "third/MEAN", "poolers/MEDIAN", "", "/", "MEAN/"):
        assert registry.poolers.find(name) is None
        assert name not in registry.poolers
    assert 3 not in registry.poolers


def test_the_error_for_an_unknown_name_lists_the_known_close_names_and_the_fix(registry):
    for name in ("MEAN", "CLS"):
        registry.register(pooler(name), POOLERS)
    with pytest.raises(UnknownNameError) as caught:
        registry.poolers.get("maen")
    assert str(caught.value) == (
        "Unknown pooler 'maen' (did you mean 'MEAN'?). Available: CLS, MEAN. A plugin can provide it with the hook "
        'register_poolers, a program with millpond.register(PoolerSpec(name="maen", ...))'
    )


def test_unknown_name_in_an_empty_catalog(registry):
    with pytest.raises(
        UnknownNameError, match=r"Unknown IO processor 'x'\. Available: none\. .* hook register_io_processors"
    ):
        registry.io_processors.get("x")


def test_the_error_for_an_unknown_qualified_name_lists_those_of_the_plugin(registry):
    registry.register(pooler("MEAN"), POOLERS)
    registry.register(pooler("OTHER"), THIRD)
    with pytest.raises(UnknownNameError, match=r"^Unknown pooler 'MEAN' of plugin 'third'\. Available: OTHER\. "):
        registry.poolers.get("third/MEAN")


def test_the_error_for_an_unknown_name_lists_plugins_that_are_not_loaded(registry):
    registry.absent["third"] = "failed"
    with pytest.raises(UnknownNameError, match=r"Not loaded: third \(failed\)\."):
        registry.poolers.get("MIN")


def test_an_override_of_a_built_in_is_logged_once(registry, caplog):
    caplog.set_level(logging.INFO)
    registry.register(pooler("MEAN"), POOLERS)
    assert caplog.messages == []
    for _ in range(3):
        registry.register(pooler("MEAN"), THIRD)
        registry.poolers.get("MEAN")
    assert caplog.messages == [
        "plugin third (millpond-third 2.0) overrides the built-in pooler 'MEAN' (now poolers/MEAN)"
    ]
    assert caplog.records[0].levelno == logging.INFO


def test_one_name_in_two_installed_plugins_is_not_an_override(registry, caplog):
    caplog.set_level(logging.INFO)
    registry.register(pooler("X"), THIRD)
    registry.register(pooler("X"), FOURTH)
    assert caplog.messages == []


def test_load_imports_the_target_once_and_not_before(registry, write_module):
    write_module(
        "counted_target", "import sys\nsys.counted_loads = getattr(sys, 'counted_loads', 0) + 1\nclass A:\n  B = 7\n"
    )
    entry = registry.register(pooler("X", "counted_target:A.B"), THIRD)
    assert "counted_target" not in sys.modules
    try:
        assert entry.load() == 7
        del sys.modules["counted_target"]
        assert entry.load() == 7
        assert sys.counted_loads == 1
    finally:
        del sys.counted_loads


def test_threads_that_load_at_once_get_one_object(registry, write_module):
    write_module("slow_target", "import time\ntime.sleep(0.05)\nclass Slow: pass\n")
    entry = registry.register(pooler("X", "slow_target:Slow"), THIRD)
    gate, loaded = Barrier(8), []

    def load():
        gate.wait()
        loaded.append(entry.load())

    threads = [Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    assert len(set(loaded)) == 1


def test_an_object_as_target_is_returned_unchanged(registry):
    target = object()
    assert registry.register(pooler("X", target), RUNTIME).load() is target


@pytest.mark.parametrize(
    ("target", "cause", "words"),
    [
        ("no_such_module_here:X", ModuleNotFoundError, "No module named 'no_such_module_here'"),
        ("millpond.plugin.specs:NoSuchThing", AttributeError, "has no attribute 'NoSuchThing'"),
        ("exits_at_import:X", SystemExit, "SystemExit: 3"),
        ("breaks_at_import:X", ZeroDivisionError, "division by zero"),
        ("millpond.plugin.specs", ValueError, 'a target has the form "package.module:attribute"'),
        (":X", ValueError, 'a target has the form "package.module:attribute"'),
    ],
)
def test_a_target_that_does_not_import_names_all_there_is_to_know(registry, write_module, target, cause, words):
    write_module("exits_at_import", "raise SystemExit(3)\n")
    write_module("breaks_at_import", "1 / 0\n")
    registry.register(pooler("MEAN", "builtins:object"), POOLERS)
    entry = registry.register(pooler("MEAN", target), THIRD)
    assert registry.poolers.get("MEAN") is entry, "a broken override must not fall back to the built-in"
    with pytest.raises(UnknownNameError) as caught:
        entry.load()
    assert isinstance(caught.value.__cause__, cause)
    for part in ("pooler 'MEAN'", "plugin third (millpond-third 2.0)", repr(target), cause.__name__, words):
        assert part in str(caught.value)
    assert "MILLPOND_DISABLE_PLUGINS=third" in str(caught.value)


def test_a_target_is_tried_again_after_a_failure(registry, write_module):
    entry = registry.register(pooler("X", "comes_later:X"), THIRD)
    with pytest.raises(UnknownNameError):
        entry.load()
    write_module("comes_later", "X = 5\n")
    assert entry.load() == 5


def test_an_entry_is_frozen_and_equal_by_its_fields():
    spec = ActivationSpec(name="a", target="none:Nothing")
    entry = Entry(spec=spec, origin=THIRD)
    assert entry == Entry(spec=spec, origin=THIRD)
    assert entry != Entry(spec=spec, origin=FOURTH)
    with pytest.raises(AttributeError):
        entry.spec = spec
