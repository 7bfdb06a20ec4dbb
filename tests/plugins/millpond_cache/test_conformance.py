"""Conformance tests of the built-in caches."""

from millpond.plugin.manager import get_plugin_manager
from millpond_cache.kinds import CacheSpec
from millpond_cache.testing import CacheConformance

ADDRESSES = {"memory": lambda folder: ""}  # the address of other caches is a folder

for _entry in get_plugin_manager().registry[CacheSpec].entries():
    if _entry.origin.rank == "builtin":
        _attributes = {"name": _entry.spec.name}
        if _entry.spec.name in ADDRESSES:
            _attributes["address"] = staticmethod(ADDRESSES[_entry.spec.name])
        _name = f"Test{_entry.spec.name.title()}Cache"
        globals()[_name] = type(_name, (CacheConformance,), _attributes)


def test_all_built_in_caches_are_tested():
    tested = {it.name for it in globals().values() if isinstance(it, type) and CacheConformance in it.__bases__}
    assert tested >= {"memory", "disk"}
