"""Names of dtypes, devices and quantization schemes are checked without torch, with a suggestion."""

import subprocess
import sys

import pytest

from millpond import LLM, InvalidInputError
from millpond.types.compute import check_names

MISSPELLED = [
    ({"dtype": "floot32"}, "dtype='floot32': expected one of .* Did you mean 'float32'?"),
    ({"device": "cdua:1"}, "device='cdua:1' cannot be used: .* Did you mean 'cuda:1'?"),
    ({"device": "gpu"}, "Did you mean 'cuda'?"),
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


def test_a_command_refuses_a_misspelled_dtype_without_importing_torch():
    code = """
import sys
from millpond_command.cli import app
try:
    app(["embed", "--dtype", "floot32", "x"], prog_name="millpond")
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Did you mean 'float32'?" in done.stderr
