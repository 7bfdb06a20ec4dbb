"""What a profile holds for: models of one shape, in one mode of computing, on one machine."""

import pytest
import torch

from millpond.loading.arguments import ComputeOptions, read_arguments
from millpond.loading.build import resolve_model
from millpond.loading.profile import ModelShape, shape_of
from millpond.loading.tuned import key_of
from millpond.testing.checkpoints import tiny


def test_a_copy_with_other_weights_in_another_folder_has_the_same_key(key, tmp_path, key_for):
    assert key_for(str(tiny("BertModel", tmp_path / "tuned", seed=7, layer_norm_eps=1e-5))) == key


@pytest.mark.parametrize(
    ("architecture", "changes", "arguments"),
    [
        ("RobertaModel", {}, {}),
        ("BertModel", {"hidden_size": 64}, {}),
        ("BertModel", {"num_hidden_layers": 3}, {}),
        ("BertModel", {"num_attention_heads": 2}, {}),
        ("BertModel", {"intermediate_size": 64}, {}),
        ("BertModel", {}, {"dtype": "bfloat16"}),
        ("BertModel", {}, {"quantization": "int8"}),
        ("BertModel", {}, {"deterministic": True}),
    ],
    ids=str,
)
def test_another_model_or_mode_has_another_key(key, tmp_path, architecture, changes, arguments, key_for):
    other = key_for(str(tiny(architecture, tmp_path / "other", **changes)), **arguments)
    assert other.file_name != key.file_name
    assert sum(map(len, key.differences(other).values())) == 1


@pytest.mark.parametrize(("name", "value"), [("processor_name", "Another CPU"), ("available_cores", 77)])
def test_another_machine_has_another_key(key, model, monkeypatch, name, value, key_for):
    monkeypatch.setattr(f"millpond.loading.tuned.{name}", lambda: value)
    other = key_for(model)
    assert list(key.differences(other)) == ["machine"]
    assert other.file_name != key.file_name


def test_another_device_has_another_key(registry, model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device.type}")
    read = read_arguments({"device": "cpu"})
    resolution, _ = resolve_model(registry, model, read)
    key = key_of(resolution, ComputeOptions(kernels={}), torch.device("cuda:0"))
    assert (key.mode.device, key.machine.processor) == ("cuda", "a GPU, cuda")


def test_what_config_json_does_not_say_is_none():
    assert shape_of("Odd", {"hidden_size": True, "dim": 8, "n_layers": "6"}) == ModelShape(
        architecture="Odd", hidden_size=8, num_hidden_layers=None, num_attention_heads=None, intermediate_size=None
    )
