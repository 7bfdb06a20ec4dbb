"""The hooks: without arguments, one for each kind of record, and for the records of kits."""

import inspect
import subprocess
import sys
import typing

import pytest

from millpond.plugin import hookspecs
from millpond.plugin.hookspecs import HOOKS

NAMES = (
    "register_tasks",
    "register_architectures",
    "register_published_models",
    "register_fallbacks",
    "register_converters",
    "register_poolers",
    "register_activations",
    "register_io_processors",
    "register_kernels",
    "register_sources",
    "register_checkpoint_formats",
    "register_modules",
    "register_executors",
)


def test_there_is_one_hook_for_each_kind():
    marked = [name for name, value in vars(hookspecs).items() if hasattr(value, "millpond_spec")]
    assert tuple(marked) == NAMES
    assert tuple(HOOKS)[: len(NAMES)] == NAMES, "the kinds of kits follow"


def test_project_and_version():
    assert hookspecs.PROJECT == "millpond"
    assert hookspecs.API_VERSION == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_takes_nothing_and_asks_for_records_of_its_kind(name):
    hook = getattr(hookspecs, name)
    assert inspect.signature(hook).parameters == {}
    (record,) = typing.get_args(typing.get_type_hints(hook)["return"])
    assert record is HOOKS[name]
    assert tuple(hook()) == (), "a hook that nobody implements brings nothing"


def packages_after(statement):
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - sys.stdlib_module_names


def test_the_imports_of_a_plugin_module_load_only_pluggy():
    added = packages_after("import millpond.plugin.hookspecs, millpond.plugin.specs") - packages_after("pass")
    assert added == {"millpond", "pluggy"}
