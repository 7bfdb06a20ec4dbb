"""Pickles are read only on request, and their code never runs."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import LLM, CheckpointError


class Evil:
    """Writes a file when it is unpickled without weights_only."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


def pickled(folder, state):
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(state, folder / "pytorch_model.bin")


def test_a_pickle_is_read_only_on_request(checkpoint, load, expected, vector):
    pickled(checkpoint, load_file(checkpoint / "model.safetensors"))
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin is a pickle, which can run code .*allow_pickle=True"
    ):
        LLM(str(checkpoint))
    assert np.array_equal(vector(load(checkpoint, allow_pickle=True)), expected)


def test_safetensors_are_read_before_a_pickle(checkpoint, load, expected, vector):
    torch.save({}, checkpoint / "pytorch_model.bin")
    for allowed in (False, True):
        assert np.array_equal(vector(load(checkpoint, allow_pickle=allowed)), expected)


def test_pickled_shards_are_read_only_on_request(checkpoint, load, expected, vector):
    tensors = load_file(checkpoint / "model.safetensors")
    names = list(tensors)
    pickled(checkpoint, {name: tensors[name] for name in names[::2]})
    (checkpoint / "pytorch_model.bin").rename(checkpoint / "one.bin")
    pickled(checkpoint, {name: tensors[name] for name in names[1::2]})
    (checkpoint / "pytorch_model.bin").rename(checkpoint / "two.bin")
    index = {"weight_map": {name: ("one.bin", "two.bin")[index % 2] for index, name in enumerate(names)}}
    (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"one\.bin is a pickle"):
        LLM(str(checkpoint))
    assert np.array_equal(vector(load(checkpoint, allow_pickle=True)), expected)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "among weights"])
def test_an_evil_pickle_never_runs(checkpoint, tmp_path, allowed, inside):
    marker = tmp_path / "ran"
    evil = Evil(str(marker))
    tensors = load_file(checkpoint / "model.safetensors")
    pickled(checkpoint, {**tensors, "evil": evil} if inside else evil)
    with pytest.raises(CheckpointError, match=r"weights_only=True" if allowed else r"allow_pickle=True"):
        LLM(str(checkpoint), allow_pickle=allowed)
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))
    assert marker.exists()  # the pickle would have run code


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (b"no pickle", "cannot be read"), (pickle.dumps([1]), "cannot be read|contains list")],
    ids=repr,
)
def test_a_damaged_pickle_is_named(checkpoint, content, message):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin .*({message})"):
        LLM(str(checkpoint), allow_pickle=True)
