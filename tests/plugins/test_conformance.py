"""Conformance tests of the built-in tasks, sources and the kinds of kits."""

from millpond.plugin.manager import PluginManager
from millpond.testing.conformance import RecordConformance, TaskConformance

BUILTIN = PluginManager(ranks=("builtin",), disabled=()).registry
CONFORMANCE_CLASSES = {
    "task": TaskConformance,
    "source": RecordConformance,
    "command": RecordConformance,
    "route": RecordConformance,
    "cluster": RecordConformance,
    "application": RecordConformance,
    "dialect": RecordConformance,
    "space": RecordConformance,
}

# One class for each registered record, so that new records are tested automatically.
for _kind, _conformance in CONFORMANCE_CLASSES.items():
    for _number, _entry in enumerate(BUILTIN.catalog(_kind).entries()):
        _name = f"Test{_kind.title()}{_number}"
        globals()[_name] = type(_name, (_conformance,), {"kind": _kind, "name": _entry.spec.name})


def test_each_built_in_component_has_a_class(registry):
    classes = [value for value in globals().values() if isinstance(value, type) and hasattr(value, "name")]
    tested = {(one.kind, one.name) for one in classes}
    assert tested == {(kind, name) for kind in CONFORMANCE_CLASSES for name in registry.catalog(kind).names()}
