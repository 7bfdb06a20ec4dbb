"""Types that tasks of plugins provide as names of the package: ``from millpond import EntitiesOutput``."""

import warnings
from importlib import import_module

from millpond.compat.moved import MOVED
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.target import Target


def exported(module: str, name: str) -> object:
    """Return an output type or an item of ``exports`` of a task's record, or a module that moved.

    Args:
        module: The module that is imported from.
        name: The name of the type.

    Raises:
        AttributeError: If no task has a type with this name.
    """
    if f"{module}.{name}" in MOVED:
        return import_module(f"{module}.{name}")
    if name[:1].isupper():
        for entry in get_plugin_manager().registry.tasks.entries():
            spec = entry.spec
            for target in (spec.target, spec.output, *spec.exports):
                if isinstance(target, type) and target.__name__ == name:
                    return target
                if isinstance(target, str) and target.endswith(f":{name}"):
                    exported_type: object = Target(target, entry, "exports").load()
                    return exported_type
    message = f"module {module!r} has no attribute {name!r}"
    raise AttributeError(message)


def moved_type(module: str, name: str) -> object:
    """Return a type in its module before 0.2, with a DeprecationWarning.

    Raises:
        AttributeError: If no task has a type with this name.
    """
    exported_type = exported(module, name)
    warnings.warn(f"{module}.{name} was moved: use `from millpond import {name}`", DeprecationWarning, stacklevel=3)
    return exported_type
