"""``millpond plugins doctor``: faults of plugin modules and their hooks."""

import json

import pytest
from typer.testing import CliRunner

from millpond.plugin.manager import get_plugin_manager
from millpond_cli.inspect.doctor import faults_of
from millpond_command import cli

HEAD = """
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec, PoolerSpec

TANH = "torch:tanh"
"""
HOOK = """
@hookimpl
def register_activations():
    yield ActivationSpec(name="odd", target=TANH, summary="odd")
"""
PLUGINS = {
    "a misspelled hook without marker": (
        f"{HEAD}{HOOK}\ndef register_pooler():\n    yield\n",
        ["register_pooler is not a hook: it is never called"],
    ),
    "a misspelled optional hook": (
        f"{HEAD}{HOOK}\n@hookimpl(optionalhook=True)\ndef register_pooler():\n    yield\n",
        ["unknown hook 'register_pooler': it is never called"],
    ),
    "a heavy import": (f"import torch\n{HEAD}{HOOK}", ["imports numpy, torch: `millpond --help` waits for it"]),
    "a module that is missing": ("import not_here_at_all", ["failed at import: ModuleNotFoundError"]),
    "records without end": (
        f"""{HEAD}
@hookimpl
def register_activations():
    while True:
        yield ActivationSpec(name="odd", target=TANH, summary="odd")
""",
        ["register_activations yields more than 10000 records"],
    ),
    "a wrong type": (
        f"{HEAD}\n@hookimpl\ndef register_poolers():\n    yield PoolerSpec(name='ODD', target=TANH, tasks=None)\n",
        [
            "failed at value: TypeError: register_poolers: PoolerSpec('ODD'): tasks=None",
            "tasks=None has the wrong type",
        ],
    ),
    "an exception that is not an Exception": (
        f"{HEAD}\n@hookimpl\ndef register_poolers():\n    raise GeneratorExit('early')\n",
        ["register_poolers raised GeneratorExit: early"],
    ),
    "an error whose text cannot be read": (
        f"{HEAD}\nclass Odd(Exception):\n    def __str__(self):\n        return 5\nraise Odd\n",
        ["failed at import: Odd: its text cannot be read (TypeError)"],
    ),
    "several faults, of which loading tells the first": (
        f"""{HEAD}
def register_tasks():
    yield

@hookimpl
def register_pooler():
    yield

@hookimpl
def register_poolers():
    return PoolerSpec(name="ODD", target=TANH, tasks=("embed",))

@hookimpl
def register_commands():
    pass

@hookimpl
def register_activations():
    yield ActivationSpec(name="odd", target=None)
    yield ActivationSpec(name="odd", target=TANH)
    yield ActivationSpec(name=" ", target=TANH)
    yield "odd"

@hookimpl
def register_sources():
    raise KeyError("licence")

@hookimpl
def register_routes(registry):
    yield
""",
        [
            "register_tasks lacks @hookimpl",
            "unknown hook 'register_pooler'",
            "register_poolers returned PoolerSpec",
            "register_commands returned None",
            "it registers the activation 'odd' 2 times",
            "register_activations yields a record with the name ' '",
            "register_activations yields 'odd'",
            "register_sources raised KeyError: 'licence'",
            "register_routes takes arguments",
        ],
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_each_fault_of_a_plugin_is_found(install_plugin, name):
    source_of_plugin, expected = PLUGINS[name]
    install_plugin(source_of_plugin, "acme")
    manager = get_plugin_manager()
    (info,) = (info for info in manager.plugins() if info.name == "acme")
    faults = [fault["reason"] for fault in faults_of(manager, info) if not fault["note"]]
    for words in expected:
        assert any(words in reason for reason in faults), faults


def test_records_of_a_refused_plugin_are_checked_too(install_plugin):
    body = f"{HEAD}{HOOK}\n@hookimpl\ndef register_poolers():\n    yield 'ODD'\n".replace("torch:tanh", "torch:tahn")
    install_plugin(body, "acme")
    manager = get_plugin_manager()
    (info,) = (info for info in manager.plugins() if info.name == "acme")
    faults = [(fault["kind"], fault["name"], fault["reason"]) for fault in faults_of(manager, info)]
    assert ("plugin", "acme", "register_poolers yields 'ODD'") in faults
    assert any(kind == "activation" and name == "odd" and "tahn" in reason for kind, name, reason in faults)
    assert manager.registry.activations.find("odd") is None


@pytest.mark.parametrize(
    ("field", "fix"), [("task=('embed',)", "write tasks"), ("zzz=1", "use the fields of PoolerSpec: name, target, ")]
)
def test_the_fix_of_an_unknown_field_names_the_fields_of_the_record(field, fix, install_plugin):
    body = f"{HEAD}\n@hookimpl\ndef register_poolers():\n    yield PoolerSpec(name='ODD', target=TANH, {field})\n"
    install_plugin(body, "acme")
    manager = get_plugin_manager()
    (info,) = (info for info in manager.plugins() if info.name == "acme")
    assert any(fault["fix"].startswith(fix) for fault in faults_of(manager, info))


def test_a_line_names_plugin_kind_name_fault_and_fix(install_plugin):
    body = (
        f"{HEAD}{HOOK}\n@hookimpl\ndef register_poolers():\n    yield PoolerSpec(name='MEAN', target='x', tasks=())\n"
    )
    install_plugin(body, "acme")
    done = CliRunner().invoke(cli.app, ["plugins", "doctor"])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    fault = "acme: pooler 'MEAN': it has no tasks; fix: list its tasks: tasks=('embed',)"
    assert f"          {fault}" in lines
    assert "note      acme: pooler MEAN replaces poolers/MEAN, which stays available as 'poolers/MEAN'" in lines
    done = CliRunner().invoke(cli.app, ["plugins", "doctor", "--json"])
    (record,) = (it for it in json.loads(done.stdout)["plugins"] if it["name"] == "acme")
    assert (record["broken"][0]["kind"], record["broken"][0]["name"]) == ("pooler", "MEAN")
    assert record["broken"][0]["fix"].startswith("list its tasks")
    assert record["overrides"] == [{"kind": "pooler", "name": "MEAN", "replaces": "poolers/MEAN"}]
