"""``millpond inspect``: reasons why a model cannot be served."""

import json
import os

import pytest
from inspect_kit import edit, facts, inspect, problem, write_checkpoint

from millpond.testing import checkpoints


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "model")


@pytest.mark.slow
def test_an_architecture_that_nothing_serves(folder):
    edit(folder / "config.json", architectures=["GizmoModel"])
    assert "Unknown architecture 'GizmoModel'" in problem(folder)
    assert "architecture  GizmoModel (unknown: no plugin provides it)" in inspect(folder).stdout
    report = facts(folder, exit_code=1)
    assert report["tasks"] == []
    first = report["max_model_len"]["stated"][0]
    assert (first["value"], first["counts"]) == (48, False)
    assert report["weights"]["parameters"] > 0


def test_a_config_without_architectures(folder):
    edit(folder / "config.json", architectures=None, model_type=None)
    assert "needs a list 'architectures'" in problem(folder)


def test_an_unknown_pooling_mode(folder):
    edit(folder / "1_Pooling" / "config.json", pooling_mode="median")
    assert "unknown pooling mode 'median'. Available: cls" in problem(folder)


def test_a_pooling_type_that_no_plugin_provides(folder):
    assert "MEDIAN" in problem(folder, "--pooler-config", '{"seq_pooling_type": "CLS+MEDIAN"}')


def test_a_module_that_is_not_known(folder):
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": "9_WordWeights", "type": "sentence_transformers.models.WordWeights"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert "WordWeights" in problem(folder)


def test_an_activation_that_is_not_known(folder):
    edit(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.Wobble")
    assert "wobble" in problem(folder)


def test_missing_and_damaged_weights(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert "Download the model again" in problem(folder)
    weights.write_bytes(whole[:100])
    assert "its header cannot be read" in problem(folder)
    weights.unlink()
    assert "has no weights" in problem(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "which require --allow-pickle" in problem(folder)
    assert facts(folder, "--allow-pickle")["weights"]["format"] == "pickle"


def test_missing_weights_of_a_dense_module(folder):
    weights = folder / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("dense.safetensors"))  # the loader does not read files of other names
    assert "2_Dense is a Dense module without weights" in problem(folder)


def test_a_missing_shard(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "parts", shards=3)
    next(folder.glob("*-00002-*")).unlink()
    assert "names shards that are not in" in problem(folder)


def test_a_single_file_takes_precedence_over_an_index_like_in_the_loader(folder):
    index = {"weight_map": {"embeddings.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert facts(folder)["weights"]["files"] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "modules.json"])
def test_damaged_json(folder, name):
    (folder / name).write_text('{"half": ', encoding="utf-8")
    assert f"{name} is not valid JSON" in problem(folder)


def test_an_option_that_does_not_fit(folder):
    assert "max_model_len=100 exceeds the" in problem(folder, "--max-model-len", 100)


def test_a_folder_without_a_model_is_refused(tmp_path):
    report = facts(tmp_path, exit_code=1)
    assert "has no config.json" in report["problems"][0]
    assert report["architecture"] is None


def test_a_model_that_no_source_has():
    done = inspect("no/such-model")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no source has the model 'no/such-model':\n")


def test_control_characters_of_a_checkpoint_do_not_reach_the_terminal(folder):
    edit(folder / "config_sentence_transformers.json", prompts={"\x1b[31mquery": "\x1b]0;title\x07"})
    done = inspect(folder)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mquery" in done.stdout


@pytest.mark.parametrize("values", [{"num_hidden_layers": 10**9}, {"vision_config": {"num_layers": 10**9}}])
def test_a_billion_layers(folder, values):
    edit(folder / "config.json", **values)
    assert "=1000000000, but the weights contain only" in problem(folder)


def test_a_pipe_in_place_of_the_weights(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert "not a regular file" in problem(folder)


def test_a_pipe_in_place_of_a_vocabulary(folder):
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "vocab.txt")
    assert "vocab.txt: it is not a regular file" in problem(folder)


@pytest.mark.parametrize(("key", "value"), [("hidden_size", -1), ("num_hidden_layers", float("nan"))])
def test_sizes_that_are_negative_or_not_numbers(folder, key, value):
    edit(folder / "config.json", **{key: value})
    assert f"config.json specifies {key}={value}; expected a" in problem(folder)
