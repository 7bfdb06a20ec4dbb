"""``millpond env``: the versions and the kernels of the installation."""

import json

import pytest
import torch
from typer.testing import CliRunner

import millpond
from millpond_cli.inspect import environment
from millpond_command import cli
from millpond_kernels import native

UNUSED = "is switched off by MILLPOND_NO_NATIVE"


def env(*arguments):
    done = CliRunner().invoke(cli.app, ["env", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_env_shows_versions_and_selected_kernels():
    record = json.loads(env("--json"))
    assert record["millpond"] == millpond.__version__
    assert record["packages"]["torch"] == torch.__version__
    assert record["cores"] >= 1
    assert record["kernels"]["attention"] == ("attention.native" if native.is_available() else "attention.sdpa")
    assert ("linear.native" in record["unavailable"]) is not native.is_available()


@pytest.mark.parametrize("build", ["2.13.0+cu130", "2.13.0+cpu"])
def test_env_shows_the_build_of_torch_although_its_metadata_does_not(build, monkeypatch):
    monkeypatch.setattr(torch, "__version__", build)
    monkeypatch.setattr(environment.metadata, "version", lambda _: "2.13.0")
    assert json.loads(env("--json"))["packages"]["torch"] == build
    assert f"torch         {build}" in env().splitlines()


def test_env_shows_why_compiled_kernels_are_not_used(monkeypatch):
    monkeypatch.setenv("MILLPOND_NO_NATIVE", "1")
    record = json.loads(env("--json"))
    assert record["kernels"]["linear"] == "linear.torch"
    assert record["unavailable"]["linear.native"] == UNUSED
    (line,) = (line for line in env().splitlines() if line.startswith("not used"))
    assert "linear.native" in line
    assert line.endswith(UNUSED)


def test_env_shows_that_the_installation_has_no_compiled_kernels(monkeypatch, tmp_path):
    monkeypatch.delenv("MILLPOND_NO_NATIVE", raising=False)
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    monkeypatch.setattr(native, "capability", lambda: "AVX2")
    shown = env()
    assert "linear.torch" in shown
    assert "is not part of this installation" in shown
