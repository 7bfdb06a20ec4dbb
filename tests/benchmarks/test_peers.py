"""The peers' environments and exported models are pinned, complete, and recreated if their inputs change."""

import re
from dataclasses import replace
from pathlib import Path

import contestants
import environments
import models
import pytest
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("torch", "onnx", "openvino", "infinity")


def pins(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    versions = dict(line.split("==") for line in lines)
    assert len(versions) == len(lines)
    return versions


@pytest.mark.parametrize("name", NAMES)
def test_every_package_of_a_peer_is_pinned(name):
    versions = pins(contestants.lock_file(name))
    assert all(re.fullmatch(r"[\w.]+", version) for version in versions.values())
    assert versions["torch"] == pins(REPOSITORY / "constraints.txt")["torch"]
    assert {"sentence-transformers", "transformers", "tokenizers", "numpy"} <= versions.keys()


def test_every_contestant_has_its_environment():
    named = {contestant.environment for contestant in contestants.BY_NAME.values() if contestant.environment}
    assert named == set(NAMES) == {path.stem for path in (REPOSITORY / "benchmarks/peers").iterdir()}


def test_torch_peer_has_the_tested_versions():
    constraints = pins(REPOSITORY / "constraints.txt")
    peer = pins(contestants.lock_file("torch"))
    assert {name: version for name, version in peer.items() if constraints.get(name, version) != version} == {}


def test_changed_pins_change_the_environment(tmp_path, monkeypatch):
    folders = {environments.environment_folder(tmp_path, name) for name in NAMES}
    assert len(folders) == len(NAMES)
    changed = tmp_path / "torch.txt"
    changed.write_text("torch==1.0\n", encoding="utf-8")
    monkeypatch.setattr(environments, "lock_file", lambda _: changed)
    assert environments.environment_folder(tmp_path, "torch") not in folders


def test_complete_environment_is_reused(tmp_path):
    home = environments.environment_folder(tmp_path, "torch")
    home.mkdir(parents=True)
    (home / environments.COMPLETE_MARKER).touch()
    assert environments.python_of(tmp_path, "torch") == home / "bin" / "python"


@pytest.mark.slow
def test_error_contains_the_output_of_pip(tmp_path, monkeypatch):
    broken = tmp_path / "torch.txt"
    broken.write_text("torch==0.0.0.no\n", encoding="utf-8")
    monkeypatch.setattr(environments, "lock_file", lambda _: broken)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit, match=r"pip install .* failed:"):
        environments.python_of(tmp_path, "torch")
    assert not list(tmp_path.rglob(environments.COMPLETE_MARKER))


def test_folder_is_created_completely_or_not_at_all(tmp_path):
    with models.atomic_folder(tmp_path / "made") as draft:
        (draft / "file").touch()
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    with pytest.raises(RuntimeError), models.atomic_folder(tmp_path / "failed") as draft:
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_all_parameters_of_the_large_model_are_random(tmp_path, monkeypatch):
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 36}
    monkeypatch.setattr(models, "BERT_BASE", {**small, "max_position_embeddings": 512})
    model = models.bert_base(tmp_path)
    tensors = load_file(model.folder / "model.safetensors")
    assert all(tensor.std() > 0.05 for tensor in tensors.values())
    assert model.config["hidden_size"] == 24
    assert len(model.tokenizer.encode("a cup of tea").ids) == 6
    assert models.bert_base(tmp_path).folder == model.folder


def test_changed_weights_change_the_folder_of_an_export(tmp_path, tiny_model):
    onnx = contestants.BY_NAME["st-onnx"]
    plain = contestants.BY_NAME["millpond"]
    assert models.form_folder(tmp_path, tiny_model, plain) == tiny_model.folder
    first = models.form_folder(tmp_path, tiny_model, onnx)
    assert models.form_folder(tmp_path, tiny_model, contestants.BY_NAME["st-onnx-int8"]) == first
    assert models.form_folder(tmp_path, tiny_model, contestants.BY_NAME["st-openvino"]) != first
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"other weights")
    assert models.form_folder(tmp_path, replace(tiny_model, folder=other), onnx) != first
