"""The output of plugins goes to stderr, separate from results. A slow import is logged."""

import json
import logging
import os
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from millpond.plugin import output as plugin_output
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.testing.checkpoints import tiny
from millpond_command import cli

NOISY = """
print("import of the module")
import typer
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec, PoolerSpec
from millpond_command.kinds import CommandSpec

app = typer.Typer()

@app.command()
def hello():
    print("a result")

@hookimpl
def register_poolers():
    print("call of a hook")
    yield PoolerSpec(name="NOISY", target="noisy_targets:Noisy", tasks=("embed",))

@hookimpl
def register_commands():
    yield CommandSpec(name="hello", target=f"{__name__}:app")
"""
TARGETS = """
print("import of a target")
from millpond_poolers.methods import MeanPooling

class Noisy(MeanPooling):
    def __init__(self, ctx):
        print("constructor")
        super().__init__(ctx)

    def pool(self, hidden_states, metadata):
        print("pooling")
        return super().pool(hidden_states, metadata)
"""
PRINTED = ["import of the module", "call of a hook", "import of a target", "constructor", "pooling"]


@pytest.fixture
def noisy(install_plugin):
    """The folder of a plugin that prints in every stage."""
    folder = install_plugin(NOISY, "noisy")
    (folder / "noisy_targets.py").write_text(TARGETS, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT."""
    return str(tiny("BertModel", tmp_path / "model"))


def arguments(folder):
    return ["embed", "-m", folder, "--pooler-config", '{"pooling_type": "NOISY"}', "--format", "jsonl", "a cup of tea"]


def test_results_on_stdout_can_be_parsed_if_a_plugin_prints(folder, noisy):
    done = CliRunner().invoke(cli.app, arguments(folder))
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    assert len(json.loads(line)["embedding"]) == 32
    for printed in PRINTED:
        assert printed in done.stderr


@pytest.mark.slow
def test_a_separate_process_also_keeps_results_apart(noisy, folder):
    command = [sys.executable, "-m", "millpond", *arguments(folder)]
    env = {**os.environ, "PYTHONPATH": str(noisy)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    (line,) = done.stdout.splitlines()
    assert len(json.loads(line)["embedding"]) == 32
    for printed in PRINTED:
        assert printed in done.stderr


@pytest.mark.parametrize(
    "words",
    [["plugins", "list", "--json"], pytest.param(["plugins", "doctor", "--json"], marks=pytest.mark.slow)],
)
def test_listings_stay_parseable(noisy, words):
    done = CliRunner().invoke(cli.app, words)
    names = json.loads(done.stdout)
    assert "noisy" in json.dumps(names)
    assert "import of the module" in done.stderr


def test_a_command_of_a_plugin_prints_to_stdout(noisy):
    done = CliRunner().invoke(cli.app, ["hello"])
    assert (done.exit_code, done.stdout) == (0, "a result\n")
    assert "a result" not in done.stderr


def test_help_is_written_to_stdout(noisy):
    for words in (["embed", "--help"], ["plugins", "list", "--help"], ["hello", "--help"]):
        assert "Usage:" in CliRunner().invoke(cli.app, words).stdout


def test_a_program_keeps_its_stdout(noisy, capsys):
    get_plugin_manager().registry.poolers.get("NOISY").load()
    sys.stdout.write("mine\n")
    out, err = capsys.readouterr()
    assert out == "mine\n"
    assert err.splitlines() == ["import of the module", "call of a hook", "import of a target"]


def test_several_threads_inside_leave_stdout_as_it_was(capsys):
    stdout, both = sys.stdout, threading.Barrier(2)

    def enter():
        with plugin_output.stdout_to_stderr():
            both.wait(60)
            assert sys.stdout is sys.stderr
            assert plugin_output.results() is stdout

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sys.stdout is plugin_output.results() is stdout


# --- imports that hang ------------------------------------------------------------------------------------------------

HANGS = """
import millpond_test_gate
assert millpond_test_gate.named.wait(60)
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec

@hookimpl
def register_activations():
    yield ActivationSpec(name="slow", target="millpond_slow_target:slow")
"""
SLOW_TARGET = """
import millpond_test_gate
assert millpond_test_gate.named.wait(60)

def slow(x):
    return x
"""


class Naming(logging.Handler):
    """Opens a gate once a record names what is imported."""

    def __init__(self):
        super().__init__()
        self.named = threading.Event()
        self.messages = []

    def emit(self, record):
        if "still importing" in record.getMessage():
            self.messages.append(record.getMessage())
            self.named.set()


@pytest.fixture
def gate(monkeypatch):
    """A module whose event is set when the log names an import; it is named almost at once."""
    handler = Naming()
    monkeypatch.setitem(sys.modules, "millpond_test_gate", handler)
    monkeypatch.setattr(plugin_output, "NOTICE_INTERVAL_S", 0.01)
    logging.getLogger("millpond").addHandler(handler)
    yield handler
    logging.getLogger("millpond").removeHandler(handler)


def test_an_import_that_hangs_is_named(install_plugin, gate):
    folder = install_plugin(HANGS, "slow")
    (folder / "millpond_slow_target.py").write_text(SLOW_TARGET, encoding="utf-8")
    manager = PluginManager(ranks=("installed",), disabled=())
    module = "millpond_slow_slow_plugin"
    assert gate.messages[0].startswith(f"still importing plugin slow (millpond-slow 1.0) ({module}) after ")
    assert manager.failures == []
    gate.messages.clear()
    gate.named.clear()
    manager.registry.activations.get("slow").load()
    target = "activation 'slow' of plugin slow (millpond-slow 1.0) (millpond_slow_target:slow)"
    assert gate.messages[0].startswith(f"still importing {target} after ")


def test_an_import_that_does_not_hang_is_not_named(install_plugin, gate, monkeypatch):
    monkeypatch.setattr(plugin_output, "NOTICE_INTERVAL_S", 60.0)
    install_plugin(NOISY, "noisy")
    assert PluginManager(ranks=("installed",), disabled=()).failures == []
    assert gate.messages == []
