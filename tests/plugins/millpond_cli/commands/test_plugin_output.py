"""``millpond encode --task plugin`` writes the bytes and arrays that an IO processor returns."""

import io
import json

import numpy as np
import pytest
from named_outputs import PNG, maker_of, marked
from typer.testing import CliRunner

from millpond import register
from millpond.plugin import manager as plugins
from millpond.testing import checkpoints
from millpond_command import cli

ARRAY = np.arange(6, dtype=np.int16).reshape(2, 3)
OUTPUTS = {
    "png": PNG,
    "tall": ARRAY,
    "wide": ARRAY.T,
    "both": {"masks": [PNG], "scores": ARRAY},
    "set": {"masks": {1}},
    "none": None,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def encode(model, monkeypatch):
    monkeypatch.setattr(plugins, "_process", plugins.Process())
    register(maker_of(OUTPUTS))
    option = ("encode", "-m", model, "--task", "plugin", "--io-processor-plugin", "maker")
    return lambda *arguments: CliRunner().invoke(cli.app, [*option, *map(str, arguments)])


def test_many_results_are_json_with_base64(encode):
    done = encode("png", "both", "none")
    assert done.exit_code == 0, done.stderr
    records = [json.loads(line)["data"] for line in done.stdout.splitlines()]
    assert records == [marked(PNG), {"masks": [marked(PNG)], "scores": ARRAY.tolist()}, None]


def test_a_result_that_json_cannot_represent_is_an_error(encode):
    done = encode("png", "set", "--on-error", "skip")
    assert done.exit_code == 3
    _, second = map(json.loads, done.stdout.splitlines())
    assert "cannot be written as JSON: masks is a builtins.set" in second["error"]
    assert second["error"].startswith("the output of the IO processor 'maker' of plugin "), second


@pytest.mark.parametrize("name", ["mask.png", "mask.bin", "mask.RAW"])
def test_the_bytes_of_one_result_are_written_to_a_file(encode, tmp_path, name):
    done = encode("png", "-o", tmp_path / name)
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / name).read_bytes() == PNG


def test_raw_to_stdout(encode):
    assert encode("png", "--format", "raw").stdout_bytes == PNG
    np.testing.assert_array_equal(np.load(io.BytesIO(encode("tall", "-f", "raw").stdout_bytes)), ARRAY)


def test_arrays_of_one_shape_are_stacked_in_npy(encode, tmp_path):
    path = tmp_path / "out.npy"
    done = encode("tall", "tall", "-o", path)
    assert done.exit_code == 0, done.stderr
    array = np.load(path)
    assert (array.dtype, array.shape) == (np.int16, (2, 2, 3))
    np.testing.assert_array_equal(array, np.stack([ARRAY, ARRAY]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("png", "png", "-o", "out.bin"), "raw supports only one result"),
        (("both", "-o", "out.bin"), "argument 1: raw supports bytes or an array; the result is dict"),
        (("png", "-o", "out.npy"), "argument 1: npy requires an array for each item; the result is bytes"),
        (
            ("tall", "wide", "-o", "out.npy"),
            "argument 2: npy requires arrays of the same shape and dtype; this one is int16 [3, 2]",
        ),
        (("png", "-o", "out.bin", "--with-text"), "--with-text: raw has only one result"),
        (("png", "-o", "out.npz"), "cannot be written as npz"),
    ],
)
def test_results_that_do_not_fit_the_format_leave_no_file(encode, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = encode(*arguments)
    assert done.exit_code != 0
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []
