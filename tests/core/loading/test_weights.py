"""Weight files: single or sharded, damaged, missing, with NaN or infinite values."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import LLM, CheckpointError
from millpond.testing.checkpoints import tiny


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_are_read_as_one(tmp_path, load, expected, shards, vector):
    assert np.array_equal(vector(load(tiny("BertModel", tmp_path, shards=shards))), expected)


def test_a_single_file_of_another_name_is_read(checkpoint, load, expected, vector):
    (checkpoint / "model.safetensors").rename(checkpoint / "weights.safetensors")
    assert np.array_equal(vector(load(checkpoint)), expected)


def test_a_missing_shard_is_named(tmp_path):
    folder = tiny("BertModel", tmp_path, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"index\.json names shards that are not in .*: model-00002-of-00003\.safe"
    ):
        LLM(str(folder))


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_a_leftover_index_next_to_a_single_file_is_ignored(tmp_path, load, vector, change, dtype):
    """Like in transformers, the single file is used even if an index with shards exists."""
    folder, other = (tiny("BertModel", tmp_path / name, seed=seed) for seed, name in enumerate(("one", "other")))
    change(folder, dtype=dtype)
    expected = vector(load(folder))
    tiny("BertModel", tmp_path / "shards", seed=2, shards=2)
    for file in (tmp_path / "shards").glob("model*"):
        file.rename(folder / file.name)
    assert np.array_equal(vector(load(folder)), expected)
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert np.array_equal(vector(load(folder)), expected)
    assert not np.array_equal(vector(load(other)), expected)


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize(
    "index",
    [
        {},
        [],
        {"weight_map": {}},
        {"weight_map": ["model.safetensors"]},
        {"weight_map": {"a": 5}},
        {"weight_map": {"a": ["model.safetensors"]}},
        {"weight_map": {"a": ""}},
        {"weight_map": {"a": "../outside.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
    ],
    ids=str,
)
def test_the_error_names_an_invalid_index_of_weights(checkpoint, index, dtype, change):
    change(checkpoint, dtype=dtype)
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        LLM(str(checkpoint))


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:4],
        lambda data: data[:50],
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    ],
    ids=["empty", "no header", "cut header", "cut data", "more data", "huge header", "no JSON", "git-lfs pointer"],
)
def test_damaged_weights_are_named(checkpoint, damage, dtype, change):
    change(checkpoint, dtype=dtype)
    path = checkpoint / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors is damaged or truncated .*: download the model again"
    ):
        LLM(str(checkpoint))


def test_the_error_for_a_folder_without_weights_lists_its_files(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no model\.safetensors or .*index\.json.* it contains: config\.json, tok"
    ):
        LLM(str(checkpoint))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "encoder.layer.1.output.LayerNorm.bias"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_not_finite_are_named(tmp_path, name, value, dtype):
    folder = tiny("BertModel", tmp_path, dtype=dtype)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[3:5] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"'{name}' in .*model\.safetensors contains 2 NaN or infinite values"):
        LLM(str(folder))


def test_large_finite_weights_are_none_of_these(tmp_path, load, vector):
    """Finite values whose sum overflows are accepted."""
    folder = tiny("BertModel", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.position_embeddings.weight"][40:] = torch.finfo(torch.float32).max
    save_file(tensors, folder / "model.safetensors")
    assert np.isfinite(vector(load(folder))).all()
