"""The hooks: without arguments, one for each kind of record, each with an example that works."""

import inspect
import re
import subprocess
import sys
import textwrap
import typing

import pytest

from millpond.plugin import hookspecs
from millpond.plugin.manager import HOOKS, PluginManager
from millpond.plugin.specs import RECORD_TYPES

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
    "register_commands",
    "register_routes",
    "register_checkpoint_formats",
    "register_modules",
    "register_caches",
    "register_executors",
    "register_services",
)


def example_of(hook):
    _, marker, example = inspect.getdoc(hook).partition("Example::\n")
    assert marker, "the docstring has no example"
    return textwrap.dedent(example)


def test_there_is_one_hook_for_each_kind():
    marked = [name for name, value in vars(hookspecs).items() if hasattr(value, "millpond_spec")]
    assert tuple(marked) == NAMES
    assert tuple(HOOKS) == NAMES
    assert len(RECORD_TYPES) == len(NAMES)


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


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_the_docstring_is_a_plugin_with_the_imports_of_the_module(name, install_plugin):
    imports = re.findall(r"^    (from .+)$", hookspecs.__doc__, re.MULTILINE)
    records = "from millpond.plugin.specs import *"
    install_plugin("\n".join([*imports, records, example_of(getattr(hookspecs, name))]), "example")
    manager = PluginManager(ranks=("installed",), disabled=(), strict=True)
    (info,) = manager.plugins()
    assert info.hooks == (name,)
    kind = HOOKS[name].kind
    assert list(info.counts) == [kind]
    targets = [entry.spec.target for entry in manager.registry.catalog(kind).entries()]
    assert all(target is None if kind == "published_model" else target.partition(":")[1] for target in targets)


def packages_after(statement):
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - sys.stdlib_module_names


def test_the_imports_of_a_plugin_module_load_only_pluggy():
    added = packages_after("import millpond.plugin.hookspecs, millpond.plugin.specs") - packages_after("pass")
    assert added == {"millpond", "pluggy"}
