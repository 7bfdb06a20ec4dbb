"""Names of dtypes, devices and quantization schemes are checked without torch, with a suggestion."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from millpond import LLM, InvalidInputError
from millpond.types.compute import check_names
from millpond_command.model_arguments import arguments_of

MISSPELLED = [
    ({"dtype": "floot32"}, "dtype='floot32': expected one of .* Did you mean 'float32'?"),
    ({"device": "cdua:1"}, "device='cdua:1' cannot be used: .* Did you mean 'cuda:1'?"),
    ({"device": "gpu"}, "Did you mean 'cuda'?"),
    ({"device": "cuda:x"}, "device='cuda:x' cannot be used: .* Did you mean 'cuda'?"),
    ({"device": "cpu:"}, "device='cpu:' cannot be used: .* Did you mean 'cpu'?"),
    ({"quantization": "int9"}, "Unknown quantization='int9'. Available: .* Did you mean 'int8'?"),
]


@pytest.mark.parametrize(("arguments", "message"), MISSPELLED)
def test_a_misspelled_name_gets_a_suggestion(arguments, message):
    with pytest.raises(InvalidInputError, match=message.replace("?", r"\?")) as caught:
        LLM("no/such-model", **arguments)
    assert [caught.value.parameter] == list(arguments)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1", "mps", "xpu", "npu", "privateuseone:0", None])
def test_the_devices_of_torch_and_of_its_plugins_are_accepted(device):
    check_names({"device": device}, ())


def test_commands_refuse_misspelled_names_without_importing_torch(tmp_path):
    (tmp_path / "in.jsonl").touch()
    code = """
import sys
from millpond_command.cli import app
for command in (
    ["embed", "--dtype", "floot32", "x"],
    ["embed", "--device", "cuda:x", "x"],
    ["run-batch", "-i", "in.jsonl", "-o", "out.jsonl", "-m", "bert", "--quantization", "int9"],
):
    try:
        app(command, prog_name="millpond")
    except SystemExit:
        pass
    assert "torch" not in sys.modules, command
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    suggested = [line.rpartition("Did you mean ")[2] for line in done.stderr.splitlines()]
    assert suggested == ["'float32'?", "'cuda'?", "'int8'?"]


def test_each_of_several_quantization_schemes_is_checked():
    with pytest.raises(InvalidInputError, match="Unknown quantization='int9'"):
        arguments_of(SimpleNamespace(quantization=["int8", "int9"], dtype=["float32"]))
