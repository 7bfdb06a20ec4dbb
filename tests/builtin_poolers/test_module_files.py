"""Modules of sentence-transformers that are not supported, and damaged module files."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from pooling_files_kit import ACTIVATIONS, TEXTS, change, ours
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, UnknownNameError
from millpond.testing.checkpoints import DenseLayer, write_sentence_transformers

# --- unsupported modules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 12])
def test_a_dense_module_with_a_residual_equals_theirs(bare, tmp_path, load, sentence_transformers, size):
    torch.manual_seed(7)
    kinds = sentence_transformers.sentence_transformer.modules
    head = kinds.Dense(32, size, init_bias=torch.randn(size), use_residual=True)
    modules = [kinds.Transformer(str(bare)), kinds.Pooling(32), head]
    model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    vectors = ours(load(tmp_path / "saved"))
    assert np.abs(vectors - model.encode(TEXTS, show_progress_bar=False)).max() <= 1e-5


def test_a_dense_module_without_an_activation_has_the_default_one(checkpoint, load, theirs):
    dense = [DenseLayer(in_features=32, out_features=12, activation=ACTIVATIONS["Identity"])]
    write_sentence_transformers(checkpoint, dense=dense, normalize=False)
    path = checkpoint / "2_Dense" / "config.json"
    config = json.loads(path.read_text())
    del config["activation_function"]
    path.write_text(json.dumps(config))
    np.testing.assert_allclose(ours(load(checkpoint)), theirs(checkpoint), atol=1e-5)


@pytest.mark.parametrize("position", [2, 3], ids=["Dense", "Normalize"])
def test_a_module_that_reads_tokens_is_refused(checkpoint, load, position):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=32)])
    home = checkpoint / json.loads((checkpoint / "modules.json").read_text())[position]["path"]
    home.mkdir(exist_ok=True)
    config = json.loads((home / "config.json").read_text()) if (home / "config.json").exists() else {}
    (home / "config.json").write_text(json.dumps(config | {"module_input_name": "token_embeddings"}))
    with pytest.raises(CheckpointError, match="token_embeddings"):
        load(checkpoint)


@pytest.mark.parametrize("name", ["LayerNorm", "LSTM", "WordWeights", "SparseAutoEncoder", "elsewhere.Module"])
def test_a_module_that_is_not_applied_is_refused(checkpoint, load, name):
    write_sentence_transformers(checkpoint)
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules.insert(
        2,
        {
            "idx": 2,
            "name": "2",
            "path": f"2_{name}",
            "type": name if "." in name else f"sentence_transformers.models.{name}",
        },
    )
    path.write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=rf"modules\.json.*{name}"):
        load(checkpoint)


def test_dropout_does_nothing_when_a_model_is_served(checkpoint, load, theirs):
    write_sentence_transformers(checkpoint)
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dropout", "type": "sentence_transformers.models.Dropout"})
    path.write_text(json.dumps(modules))
    (checkpoint / "2_Dropout").mkdir()
    (checkpoint / "2_Dropout" / "config.json").write_text('{"dropout": 0.5}')
    assert np.abs(ours(load(checkpoint)) - theirs(checkpoint)).max() <= 1e-5


# --- damaged files --------------------------------------------------------------------------------------------------


def test_an_unknown_pooling_mode_is_refused_with_those_known(checkpoint, load):
    write_sentence_transformers(checkpoint, pooling="median")
    with pytest.raises(
        CheckpointError, match=r"1_Pooling/config\.json: unknown pooling mode 'median'\. Available: .*mean"
    ):
        load(checkpoint)


@pytest.mark.parametrize("mode", [3, [["mean"]], [None], {"mean": True}, []], ids=str)
def test_a_pooling_mode_of_another_type_is_refused(checkpoint, load, mode):
    write_sentence_transformers(checkpoint)
    change(checkpoint / "1_Pooling" / "config.json", pooling_mode=mode)
    with pytest.raises(CheckpointError, match=r"1_Pooling/config\.json"):
        load(checkpoint)


def test_a_pooling_module_without_its_config_is_refused(checkpoint, load):
    write_sentence_transformers(checkpoint)
    shutil.rmtree(checkpoint / "1_Pooling")
    with pytest.raises(CheckpointError, match=r"names a Pooling module in '1_Pooling', but .*config\.json is missing"):
        load(checkpoint)


@pytest.mark.parametrize("text", ["{}", '"modules"', "[1]", "[[]]", "null"])
def test_a_modules_json_of_another_form_is_refused(checkpoint, load, text):
    (checkpoint / "modules.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"modules\.json must contain a list of objects"):
        load(checkpoint)


@pytest.mark.parametrize("path", ["../outside", "/etc", 7, None, "1_Pooling/../../x"])
def test_a_module_outside_the_folder_is_refused(checkpoint, load, path):
    write_sentence_transformers(checkpoint)
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[1]["path"] = path
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"modules\.json names .*, which is not a path inside"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"bias": torch.ones(4)}, r"has none of linear\.weight, dense\.weight, weight\. Available: bias"),
        ({"linear.weight": torch.ones(4, 31)}, r"'linear.weight' .* has \[4, 31\], .* implies \[4, 32\]"),
        ({"linear.weight": torch.ones(4, 32)}, "has no bias"),
        ({"linear.weight": torch.ones(4, 32), "linear.bias": torch.ones(5)}, r"'linear.bias' .* has \[5\]"),
        ({"linear.weight": torch.full((4, 32), torch.nan), "linear.bias": torch.ones(4)}, "'linear.weight' .* NaN"),
    ],
    ids=["no weight", "shape", "no bias", "shape of the bias", "NaN"],
)
def test_dense_weights_that_do_not_fit_are_named(checkpoint, load, tensors, message):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    save_file(tensors, checkpoint / "2_Dense" / "model.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        load(checkpoint)
    assert "2_Dense" in str(caught.value)


def test_dense_modules_whose_sizes_do_not_match_are_refused_when_loaded(checkpoint, load):
    dense = [DenseLayer(in_features=32, out_features=8), DenseLayer(in_features=9, out_features=4)]
    write_sentence_transformers(checkpoint, dense=dense)
    with pytest.raises(CheckpointError, match=r"3_Dense expects 9 dimensions, .* returns 8"):
        load(checkpoint)


def test_an_unknown_dense_activation_is_refused_and_never_imported(checkpoint, load, tmp_path, monkeypatch):
    (tmp_path / "evil_activation.py").write_text("import sys; sys.evil_activation_ran = True\nclass Boom: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    dense = [DenseLayer(in_features=32, out_features=4, activation="evil_activation.Boom")]
    write_sentence_transformers(checkpoint, dense=dense)
    with pytest.raises(UnknownNameError, match=r"Unknown activation 'boom'.*Available: celu, elu"):
        load(checkpoint)
    assert not hasattr(sys, "evil_activation_ran")


def test_dense_weights_without_a_file_are_named(checkpoint, load):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    (checkpoint / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"2_Dense is a Dense module without weights: .*model\.safetensors"):
        load(checkpoint)


def test_pickled_dense_weights_are_read_only_on_request(checkpoint, load):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4, pickled=True)])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle.*allow_pickle=True"):
        load(checkpoint)
    vectors = ours(load(checkpoint, allow_pickle=True))
    state = torch.load(checkpoint / "2_Dense" / "pytorch_model.bin", weights_only=True)
    save_file(state, checkpoint / "2_Dense" / "model.safetensors")
    assert np.array_equal(ours(load(checkpoint)), vectors)


@pytest.mark.parametrize("key", ["weight", "linear.weight", "dense.weight"])
def test_dense_weights_bear_one_of_three_names(checkpoint, load, key):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    expected = ours(load(checkpoint))
    path = checkpoint / "2_Dense" / "model.safetensors"
    tensors = load_file(path)
    save_file({key: tensors["linear.weight"], key.replace("weight", "bias"): tensors["linear.bias"]}, path)
    assert np.array_equal(ours(load(checkpoint)), expected)
