"""The records of every task, source, command and route that Millpond comes with are right."""

from millpond.plugin.manager import PluginManager
from millpond.testing.conformance import RecordConformance, TaskConformance

BUILTIN = PluginManager(ranks=("builtin",), disabled=()).registry
KINDS = {"task": TaskConformance, "source": RecordConformance, "command": RecordConformance, "route": RecordConformance}

# A class for each that is registered: one that is new is tested from its first day.
for _kind, _conformance in KINDS.items():
    for _number, _entry in enumerate(BUILTIN.catalog(_kind).entries()):
        _name = f"Test{_kind.title()}{_number}"
        globals()[_name] = type(_name, (_conformance,), {"kind": _kind, "name": _entry.spec.name})


def test_there_is_a_class_for_each(registry):
    classes = [value for value in globals().values() if isinstance(value, type) and hasattr(value, "name")]
    tested = {(one.kind, one.name) for one in classes}
    assert tested == {(kind, name) for kind in KINDS for name in registry.catalog(kind).names()}
