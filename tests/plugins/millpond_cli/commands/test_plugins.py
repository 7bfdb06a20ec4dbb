"""``millpond plugins``: what is installed, what is broken and why, and which kernels are chosen."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import millpond
from millpond import LLM
from millpond.testing import checkpoints
from millpond_command import cli
from millpond_kernels import native

HEAD = """\
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec, KernelSpec, PoolerSpec
from millpond_command.kinds import CommandSpec
"""
GOOD = (
    HEAD
    + """
MAX = "millpond_poolers.methods:MaxPooling"

@hookimpl
def register_poolers():
    yield PoolerSpec(name="MAXIMUM", target=MAX, tasks=("embed",), summary="the largest values")
    yield PoolerSpec(name="MINIMUM", target=MAX, tasks=("embed",), summary="the smallest values")
"""
)
BROKEN = "raise RuntimeError('it is broken')"


def plugins(*arguments):
    return CliRunner().invoke(cli.app, ["plugins", *arguments])


def listed(*arguments):
    done = plugins("list", "--json", *arguments)
    assert done.exit_code == 0
    return {record["name"]: record for record in json.loads(done.stdout)}


# --- list -------------------------------------------------------------------------------------------------------------


def test_the_built_in_plugins_are_listed_with_their_components():
    records = listed()
    assert {"cli", "io_processors", "kernels", "models", "poolers", "sources", "tasks"} <= set(records)
    commands = {
        "command": [
            "bench",
            "canary",
            "classify",
            "config",
            "embed",
            "encode",
            "env",
            "inspect",
            "plugins",
            "rerank",
            "score",
            "search",
            "similarity",
        ]
    }
    assert records["cli"] == {
        "name": "cli",
        "status": "ok",
        "origin": "builtin",
        "distribution": "millpond",
        "version": millpond.__version__,
        "module": "millpond_cli.plugin",
        "provides": commands,
        "overrides": [],
        "failure": None,
    }
    assert "MEAN" in records["poolers"]["provides"]["pooler"]


def test_an_installed_plugin_and_a_broken_one(install_plugin):
    install_plugin(GOOD, "good", version="3.1")
    install_plugin(BROKEN, "bad", version="0.2")
    records = listed()
    assert (records["good"]["origin"], records["good"]["version"]) == ("installed", "3.1")
    assert records["good"]["provides"] == {"pooler": ["MAXIMUM", "MINIMUM"]}
    assert records["bad"]["status"] == "failed"
    assert records["bad"]["failure"] == {"stage": "import", "reason": "RuntimeError: it is broken"}
    done = plugins("list")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["PLUGIN", "STATUS", "ORIGIN", "DISTRIBUTION", "PROVIDES"] in lines
    assert ["good", "ok", "installed", "millpond-good", "3.1", "2", "poolers"] in lines
    assert ["bad", "failed", "installed", "millpond-bad", "0.2"] in lines
    assert "bad (millpond-bad 0.2, millpond_bad_bad_plugin) failed at import: RuntimeError: it is broken" in done.stdout


def test_overrides_are_listed(install_plugin):
    install_plugin(GOOD.replace("MAXIMUM", "MEAN"), "good")
    assert listed()["good"]["overrides"] == [{"kind": "pooler", "name": "MEAN", "replaces": "poolers/MEAN"}]
    done = plugins("list")
    assert done.stdout.endswith("\n\nOVERRIDES\ngood: pooler MEAN replaces poolers/MEAN\n")


def test_disabled_plugins_are_listed_as_disabled(monkeypatch, install_plugin):
    monkeypatch.setenv("MILLPOND_DISABLE_PLUGINS", "good")
    install_plugin(GOOD, "good")
    assert (listed()["good"]["status"], listed()["good"]["provides"]) == ("disabled", {})


def test_a_broken_plugin_does_not_affect_a_new_process(install_plugin):
    folder = install_plugin(BROKEN, "bad")
    done = subprocess.run(
        [sys.executable, "-m", "millpond", "plugins", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert {record["name"]: record["status"] for record in json.loads(done.stdout)}["bad"] == "failed"
    assert done.stderr.startswith("warning: plugin bad (millpond-bad 1.0) is not loaded")


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_all_built_in_plugins_are_healthy():
    done = plugins("doctor")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "ok        poolers: " in done.stdout
    assert re.search(r"models: .*\d+ architectures, \d+ published models, ", done.stdout)
    report = json.loads(plugins("doctor", "--json").stdout)
    assert report["healthy"] is True
    assert all(record["broken"] == [] for record in report["plugins"])
    assert report["ambiguous"] == []


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        ('PoolerSpec(name="X", target="no_such_module_here:X", tasks=("embed",))', "pooler", "no_such_module_here"),
        ('PoolerSpec(name="X", target="millpond.plugin.specs:Nothing", tasks=("embed",))', "pooler", "Nothing"),
        ('PoolerSpec(name="X", target="no colon", tasks=("embed",))', "pooler", "package.module:attribute"),
        ('CommandSpec(name="X", target="builtins:print")', "command", "not a typer.Typer"),
        ('KernelSpec(name="X.y", target="builtins:print", available="no_such_module_here:f")', "kernel", "no_such_mod"),
    ],
)
def test_targets_that_cannot_be_imported_are_reported(install_plugin, record, kind, reason):
    install_plugin(f"{HEAD}\n@hookimpl\ndef register_{kind}s():\n    yield {record}\n", "bad")
    done = plugins("doctor")
    assert done.exit_code == 1
    assert "broken    bad: 1 " in done.stdout
    report = json.loads(plugins("doctor", "--json").stdout)
    (fault,) = next(it["broken"] for it in report["plugins"] if it["name"] == "bad")
    assert fault["kind"] == kind
    assert reason in fault["reason"]
    assert report["healthy"] is False


def test_a_plugin_that_is_not_loaded_is_unhealthy(install_plugin):
    install_plugin(BROKEN, "bad")
    done = plugins("doctor")
    assert done.exit_code == 1
    assert "failed    bad: nothing\n" in done.stdout
    line = "bad: failed at import: RuntimeError: it is broken; fix: correct the module, or install its dependencies"
    assert f"\n          {line}\n" in done.stdout


def test_doctor_checks_only_the_named_plugins(install_plugin):
    install_plugin(GOOD, "good")
    install_plugin(GOOD, "other")
    install_plugin(BROKEN, "bad")
    good = json.loads(plugins("doctor", "good", "--json").stdout)
    assert (good["healthy"], [record["name"] for record in good["plugins"]]) == (True, ["good"])
    assert good["ambiguous"][0].endswith("use good/MAXIMUM or other/MAXIMUM")
    cli_report = plugins("doctor", "cli")
    assert (cli_report.exit_code, cli_report.stdout) == (0, "ok        cli: 13 commands\n")
    assert plugins("doctor", "cli", "bad").exit_code == 1


def test_doctor_lists_the_plugins_when_a_name_is_unknown():
    done = plugins("doctor", "nope")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Unknown plugin 'nope'. Available: caches, cli, ")


def test_names_of_two_plugins_are_noted(install_plugin):
    install_plugin(GOOD, "one")
    install_plugin(GOOD, "two")
    done = plugins("doctor")
    assert done.exit_code == 0
    assert "note      pooler 'MAXIMUM' is provided by several plugins: use one/MAXIMUM or two/MAXIMUM" in done.stdout


# --- kernels ----------------------------------------------------------------------------------------------------------


def kernels(*arguments):
    done = plugins("kernels", "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    return {record["name"]: record for record in json.loads(done.stdout)}


def test_kernels_are_ranked(install_plugin):
    specs = [
        'KernelSpec(name="warp.plain", target="builtins:print")',
        'KernelSpec(name="warp.better", target="builtins:print", priority=1)',
        'KernelSpec(name="warp.gpu", target="builtins:print", devices=("cuda",), priority=99)',
        'KernelSpec(name="warp.half", target="builtins:print", dtypes=("float16",), priority=98)',
        'KernelSpec(name="warp.absent", target="builtins:print", available="builtins:bool", priority=97)',
    ]
    body = "".join(f"    yield {spec}\n" for spec in specs)
    install_plugin(f"{HEAD}\n@hookimpl\ndef register_kernels():\n{body}", "fast")
    kernel_records = kernels()
    ours = [record for record in kernel_records.values() if record["op"] == "warp"]
    assert [(record["variant"], record["chosen"], record["fits"]) for record in ours] == [
        ("better", True, True),
        ("plain", False, True),
        ("gpu", False, False),
        ("half", False, False),
        ("absent", False, False),
    ]
    assert kernel_records["warp.gpu"]["reason"] == "runs on cuda, not on cpu"
    assert kernel_records["warp.half"]["reason"] == "computes in float16, not in float32"
    assert kernel_records["warp.absent"]["reason"] == "cannot run here (builtins:bool returned False)"
    assert kernel_records["attention.reference"]["plugin"] == "kernels"
    assert kernels("--dtype", "float16")["warp.half"]["chosen"] is True
    lines = [line.split() for line in plugins("kernels").stdout.splitlines()]
    assert lines[0] == ["KERNEL", "STATUS", "PLUGIN", "REASON"]
    assert ["warp.gpu", "unsupported", "fast", "runs", "on", "cuda,", "not", "on", "cpu"] in lines


@pytest.mark.skipif(not native.is_available(), reason="needs compiled kernels")
def test_kernels_of_bfloat16_are_those_that_a_model_in_bfloat16_uses(tmp_path):
    with LLM(str(checkpoints.tiny("BertModel", tmp_path)), dtype="bfloat16") as llm:
        ctx = llm._loaded.context  # noqa: SLF001  no public access
    chosen = ctx.requested.chosen.values()
    expected = {match.entry.spec.op: match.entry.spec.name for match in chosen if "bf16" in match.entry.spec.name}
    selected = {it["op"]: it["name"] for it in kernels("--dtype", "bfloat16").values() if it["chosen"]}
    assert expected["linear"] == "linear.bf16_native"
    assert expected.items() <= selected.items()


def test_kernels_are_ranked_by_the_features_that_a_model_requires():
    kernel_records = kernels("--needs", "softcap", "--needs", "pair_bias")
    assert kernel_records["attention.sdpa"]["chosen"] is True
    assert kernel_records["attention.native"]["reason"] == "does not support softcap, pair_bias"
    assert {"softcap", "pair_bias"} <= set(kernel_records["attention.reference"]["features"])
    assert kernel_records["normalize.torch"]["chosen"] is True
    done = plugins("kernels", "--needs", "wings")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --needs wings: no kernel has this feature")
    assert "distance_bias" in done.stderr


@pytest.mark.parametrize("arguments", [["--device", "abacus"], ["--dtype", "float31"], ["--dtype", "nn"]])
def test_an_unknown_torch_device_is_a_usage_error(arguments):
    done = plugins("kernels", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {arguments[0]} '{arguments[1]}': unknown to torch")
