"""The activation in an architecture's record overrides the files, and is overridden by the caller."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM, PoolingParams
from millpond.plugin import manager as plugins
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.errors import UnknownNameError
from millpond_command import cli

NAME = "BertForSequenceClassification"


def named(manager, activation):
    spec = manager.registry.architectures.get(NAME).spec
    manager.register(replace(spec, output=replace(spec.output, activation=activation)))
    return manager


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier whose config.json specifies the softmax."""
    folder = tiny(NAME, tmp_path_factory.mktemp("tiny") / "model", num_labels=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "single_label_classification"}))
    return str(folder)


def classes(folder, activation, **arguments):
    with LLM(folder, plugins=named(PluginManager(), activation), num_workers=1, **arguments) as llm:
        (raw,) = llm.classify("the old mill", use_tqdm=False, pooling_params=PoolingParams(use_activation=False))
        (output,) = llm.classify("the old mill", use_tqdm=False)
    return llm.model_config.classification.activation, output.outputs.array, raw.outputs.array


def test_the_record_takes_precedence_over_config_json(folder):
    name, probabilities, raw = classes(folder, "sigmoid")
    assert name == "sigmoid"
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-raw)), rtol=1e-6)
    name, probabilities, raw = classes(folder, "identity")
    assert name == "identity"
    np.testing.assert_array_equal(probabilities, raw)
    assert classes(folder, None)[0] == "softmax"


@pytest.mark.parametrize(
    "overrides",
    [{"problem_type": "single_label_classification"}, lambda config: {"problem_type": "multi_label_classification"}],
)
def test_the_caller_takes_precedence_over_the_record(folder, overrides):
    expected = "softmax" if isinstance(overrides, dict) else "sigmoid"
    assert classes(folder, "identity", hf_overrides=overrides)[0] == expected


def test_an_activation_that_no_plugin_has_is_refused(folder):
    with pytest.raises(UnknownNameError, match="sigmoidd"):
        classes(folder, "sigmoidd")


def test_inspect_shows_that_the_architecture_decided_it(folder, monkeypatch):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    named(plugins.get_plugin_manager(), "sigmoid")
    done = CliRunner().invoke(cli.app, ["inspect", folder, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["classes"]["activation"], report["classes"]["activation_from"]) == (
        "sigmoid",
        f"the architecture {NAME}",
    )
    assert {task["name"]: task["activation"] for task in report["tasks"]}["classify"] == "sigmoid"
