"""Checkpoints that the fallback loads or refuses: weights, heads, code and quantized files."""

import json

import pytest
import torch
from fallback_kit import FUNNEL, alone, asked, error
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError


def test_tensors_that_are_missing_or_unused_are_listed(make, load):
    folder, _ = make("ElectraModel")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file({**tensors, "encoder.mill.weight": torch.ones(2)}, path)
    with pytest.raises(
        CheckpointError,
        match=r"missing \(1\): encoder\.layer\.1\.output\.dense\.bias; unused \(1\): encoder\.mill\.weight",
    ):
        load(folder)


def test_a_classifier_needs_its_head_and_an_embedding_model_does_not(make, load):
    folder, model = make("ElectraForSequenceClassification")
    llm = load(folder, hf_overrides={"architectures": ["ElectraModel"]})
    assert error(asked(llm, "token_embed"), alone(model.electra)) <= 1e-4
    folder, _ = make("ElectraModel")
    with pytest.raises(
        CheckpointError, match=r"missing \(4\): classifier\.dense\.bias, .*classifier\.out_proj\.weight"
    ):
        load(folder, hf_overrides={"architectures": ["ElectraForSequenceClassification"]})


def test_a_tensor_of_a_wrong_shape_is_named(make, load):
    folder, _ = make("ElectraModel")
    with pytest.raises(CheckpointError, match=r"ElectraModel cannot be loaded: .*size"):
        load(folder, hf_overrides={"intermediate_size": 40})


def test_code_that_a_config_names_is_not_run(make, load):
    folder, model = make("ElectraModel")
    (folder / "evil.py").write_text("raise SystemExit('run')")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"auto_map": {"AutoModel": "evil.Mill", "AutoConfig": "evil.MillConfig"}}
    config |= {"attn_implementation": "somebody/evil-kernels", "_attn_implementation": "somebody/evil-kernels"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    llm = load(folder, trust_remote_code=True)
    assert error(asked(llm, "token_embed"), alone(model)) <= 1e-4


def test_quantized_files_and_int8_are_refused(make, load):
    folder, _ = make("ElectraModel")
    with pytest.raises(InvalidInputError, match="is not supported for ElectraModel, which runs with the model class"):
        load(folder, quantization="int8")
    with pytest.raises(CheckpointError, match="quantized checkpoints are not supported"):
        load(folder, hf_overrides={"quantization_config": {"quant_method": "gptq", "bits": 4}})


def test_a_class_must_return_one_row_per_token(make, load):
    folder, _ = make("FunnelForSequenceClassification", **FUNNEL)
    with pytest.raises(CheckpointError, match="got 3 rows for 5 tokens"):
        load(folder)
