"""Checks of a plugin's module: hooks that are never called, missing records, and slow imports."""

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache

import pluggy

from millpond.plugin.hookspecs import HOOKS, PROJECT
from millpond.plugin.manager import PluginInfo, PluginManager
from millpond.testing.records.common import Fault

SLOW_IMPORTS = ("torch", "transformers", "safetensors", "numpy")
IMPORT_TIMEOUT_S = 120
IMPORT = """
import importlib, json, sys
module, sys.path[:] = json.loads(sys.argv[1])
sys.stdout = sys.stderr
importlib.import_module(module)
print(json.dumps(sorted(set({heavy!r}) & set(sys.modules))), file=sys.__stdout__)
"""


def module_faults(manager: PluginManager, info: PluginInfo) -> Iterator[Fault]:
    """Yield the faults of a loaded plugin's module; those of its records are checked separately."""
    plugin = manager.implementation(info.name)
    if info.status != "ok" or plugin is None:
        return
    yield from _hook_faults(plugin)
    if not info.counts:
        yield Fault("its hooks yield no record", "yield records, or remove the hooks", is_note=True)
    if info.origin.rank == "installed" and info.origin.module:
        heavy = imported_by(info.origin.module, tuple(sys.path))
        if heavy:
            reason = f"its module {info.origin.module} imports {', '.join(heavy)}: `millpond --help` waits for it"
            yield Fault(reason, "import it in the module that a target names")


@cache
def imported_by(module: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages with slow imports that a new interpreter imports together with a module.

    Raises:
        ImportError: If the module cannot be imported there.
    """
    command = [sys.executable, "-c", IMPORT.format(heavy=SLOW_IMPORTS), json.dumps([module, path])]
    process = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)  # noqa: S603
    if process.returncode != 0:
        message = f"a new interpreter cannot import {module}:\n{process.stderr}"
        raise ImportError(message)
    return tuple(json.loads(process.stdout.splitlines()[-1]))


def _hook_faults(plugin: object) -> Iterator[Fault]:
    markers = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options = markers.parse_hookimpl_opts(plugin, name)
        hook = name if options is None else options.get("specname") or name
        if hook in HOOKS:
            continue
        close = get_close_matches(hook, HOOKS, n=1, cutoff=0.8)
        if options is not None:  # pluggy accepts unknown hooks with optionalhook=True
            fix = f"write {close[0]}" if close else "remove it, unless a newer Millpond has it"
            yield Fault(f"unknown hook {hook!r}: it is never called", fix, is_note=not close)
        elif close and inspect.isfunction(getattr(plugin, name)) and name.startswith("register_"):
            yield Fault(f"{name} is not a hook: it is never called", f"write @hookimpl and def {close[0]}()")
