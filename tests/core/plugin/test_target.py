"""Target: the object that a record names is imported once, and errors name the plugin."""

import re

import pytest

from millpond.plugin.registry import Catalog, Origin
from millpond.plugin.specs import ArchitectureSpec, ModelExtras, PoolerSpec
from millpond.plugin.target import imported, load_target
from millpond.types.errors import UnknownNameError

ACME = Origin(plugin="acme", rank="installed")


def entry_of(spec):
    return Catalog(type(spec)).add(spec, ACME)


def pooler(target):
    return entry_of(PoolerSpec(name="ODD", target=target, tasks=("embed",)))


def test_an_import_string_is_imported_once_and_an_object_is_itself():
    entry = pooler("collections:OrderedDict")
    assert entry.load() is entry.load() is __import__("collections").OrderedDict
    assert pooler(dict).load() is dict


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("no_such_module_at_all:X", "raised ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("collections:NoSuch", "raised AttributeError: module 'collections' has no attribute 'NoSuch'"),
        ("collections", 'raised ValueError: a target has the form "package.module:attribute"'),
        (None, "is None; expected a class or a function"),
    ],
)
def test_a_target_that_does_not_load_names_plugin_kind_and_name(target, fault):
    message = f"pooler 'ODD' of plugin acme cannot be loaded: its target {target!r} {fault}"
    with pytest.raises(UnknownNameError, match=re.escape(message)) as caught:
        pooler(target).load()
    assert "MILLPOND_DISABLE_PLUGINS=acme" in str(caught.value)


def test_the_hint_for_a_runtime_record_does_not_name_a_variable_that_has_no_effect():
    runtime = Origin(plugin="runtime", rank="runtime")
    entry = Catalog(PoolerSpec).add(PoolerSpec(name="ODD", target="no_such_module:X", tasks=("embed",)), runtime)
    with pytest.raises(UnknownNameError, match=r"Fix the call of register\(\)") as caught:
        entry.load()
    assert "MILLPOND_DISABLE_PLUGINS" not in str(caught.value)


def test_any_field_of_a_record_is_loaded_with_its_name_in_the_error():
    extras = ModelExtras(image_processor="collections:OrderedDict", late_interaction="odd:X")
    entry = entry_of(ArchitectureSpec(name="Odd", target=dict, tasks=("embed",), extras=extras))
    assert entry.load("extras.image_processor") is imported("collections:OrderedDict")
    with pytest.raises(UnknownNameError, match=r"'Odd' of plugin acme .* its extras\.late_interaction 'odd:X'"):
        entry.load("extras.late_interaction")
    with pytest.raises(UnknownNameError, match="its image_reader 'odd:Y' raised"):
        load_target("odd:Y", entry, "image_reader")


def test_views_of_a_catalog_are_computed_once_until_a_record_is_added():
    catalog = Catalog(PoolerSpec)
    catalog.add(PoolerSpec(name="B", target=dict, tasks=("embed",)), ACME)
    assert catalog.names() is catalog.names()
    assert catalog.entries() is catalog.entries()
    catalog.add(PoolerSpec(name="A", target=dict, tasks=("embed",)), ACME)
    assert catalog.names() == ("A", "B")
