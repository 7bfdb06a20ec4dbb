"""The plugin manager of the process: one, created quickly at its first use."""

import subprocess
import sys
from threading import Thread

from millpond.plugin import manager as plugins
from millpond.plugin.hookspecs import HOOKS, HOOKSPECS
from millpond.plugin.manager import Failure, PluginManager, get_plugin_manager
from millpond.plugin.registry import Origin


def test_the_process_has_one_manager(install_plugin, brings):
    install_plugin("import time\ntime.sleep(0.05)\n" + brings("X"), "slow")
    seen = []
    threads = [Thread(target=lambda: seen.append(get_plugin_manager())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert set(map(id, seen)) == {id(get_plugin_manager())}
    assert "X" in get_plugin_manager().registry.poolers


def test_the_only_state_of_the_module_is_the_cached_manager():
    state = {
        name: value
        for name, value in vars(plugins).items()
        if not name.startswith("__") and isinstance(value, (dict, list, set, plugins.Process, PluginManager))
    }
    assert state == {"_process": state["_process"], "HOOKS": HOOKS, "HOOKSPECS": HOOKSPECS}


def test_the_text_of_a_failure_is_one_line():
    failure = Failure(Origin(plugin="third", rank="installed"), "hook", ValueError("one\n  two\n"))
    assert str(failure) == "plugin third is not loaded, it failed at hook: ValueError: one two"


LOAD = """
import sys, time
from millpond.plugin.manager import PluginManager
start = time.process_time()  # not the clock on the wall: other programs' work is not ours
manager = PluginManager(ranks=("builtin",))
print((time.process_time() - start) / start)  # of what Python itself took until here, on whatever machine this is
assert not manager.failures, manager.failures
print(sorted({"torch", "numpy", "transformers", "tokenizers", "safetensors", "pydantic", "typer"} & set(sys.modules)))
"""


def test_loading_the_built_ins_is_quick_and_imports_nothing_heavy():
    outputs = [
        subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(5)
    ]
    assert {heavy for _, heavy in outputs} == {"[]"}
    assert min(float(ratio) for ratio, _ in outputs) < 0.7
