"""Checkpoint files of absurd size, depth or kind are errors within seconds."""

import json
import os
import struct
from time import monotonic

import pytest

from millpond import LLM, CheckpointError
from millpond.model.files import read_json
from millpond.testing import checkpoints

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "model.safetensors")
MAX_SECONDS = 5


@pytest.fixture
def folder(tmp_path):
    return checkpoints.tiny("BertModel", tmp_path / "model")


def refuse(folder, match):
    began = monotonic()
    with pytest.raises(CheckpointError, match=match):
        LLM(str(folder), num_workers=1)
    assert monotonic() - began < MAX_SECONDS


def replace_values(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_does_not_block(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refuse(folder, "not a regular file|has no weights")


@pytest.mark.parametrize("name", FILES)
def test_a_device_in_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/dev/zero")
    refuse(folder, "not a regular file|has no weights")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "not valid JSON"),
        ('{"a":' * 900 + "1" + "}" * 900, "nested too deeply"),
        ("[" + "[]," * 600_000 + "[]]", "more than 500000 lists and objects"),
        (" " * 2**24 + "{}", "is larger than"),
    ],
)
def test_json_that_is_deep_or_huge_is_refused(tmp_path, text, why):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=why):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
@pytest.mark.parametrize("key", ["num_hidden_layers", "num_layers"])
def test_a_billion_layers_in_a_nested_config_are_refused(folder, part, key):
    replace_values(folder / "config.json", **{part: {key: 10**9}})
    refuse(folder, rf"{part}\.{key}=1000000000, but the weights contain only")


def write_header(folder, header):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def test_a_header_with_very_many_tensors_is_refused(folder):
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    write_header(folder, ("{" + ",".join(entry % number for number in range(110_000)) + "}").encode())
    refuse(folder, "at most 33554432 bytes and 100000 tensors")


@pytest.mark.parametrize("shape", ["[-1]", "[NaN]", "[4611686018427387904,4611686018427387904]", '"x"', "[1e400]"])
def test_a_header_with_an_impossible_shape_is_refused(folder, shape):
    write_header(folder, f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,8]}}}}'.encode())
    refuse(folder, "model.safetensors|contain only 1|no tensor|missing")


def test_a_panic_of_the_tokenizer_library_while_reading_is_refused(folder):
    replace_values(folder / "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    refuse(folder, "tokenizer.json cannot be read")


def test_a_panic_of_the_tokenizer_library_while_encoding_is_refused(folder):
    processor = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[NO]", "type_id": 0}}]}
    replace_values(folder / "tokenizer.json", post_processor={**processor, "pair": [], "special_tokens": {}})
    refuse(folder, "tokenizer.json cannot be read")


def test_a_large_tokenizer_is_read(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"merges": [["a", "b"]] * 600_000, "padding": "x" * 2**24}))
    assert len(read_json(path)["merges"]) == 600_000


@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json", "tokenizer.model"])
def test_a_pipe_in_place_of_a_vocabulary_to_convert_is_refused(folder, name):
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / name)
    refuse(folder, f"{name}: it is not a regular file")
