"""``millpond embed`` in separate processes: output, imports, closed pipes and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from millpond import LLM
from millpond.testing import checkpoints

TEXTS = ["A cat sleeps.", "Der Kater schläft.", "  spaces  "]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint that loads quickly."""
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


def test_a_process_prints_only_data_and_imports_only_what_it_needs():
    code = (
        "import sys; from millpond_command.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "embed", *TEXTS],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    vectors = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    with LLM("sentence-transformers/all-MiniLM-L6-v2") as llm:
        expected = [output.outputs.embedding for output in llm.embed(TEXTS, use_tqdm=False)]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert "\x1b" not in done.stdout + done.stderr
    imported = set(done.stderr.split())
    needless = {
        "transformers",
        "scipy",
        "sympy",
        "sklearn",
        "torch._dynamo",
        "huggingface_hub.hf_api",
        "rich",
        "pandas",
        "jinja2",  # the model has no chat template
        "millpond_io.scoring.cross_encoder",  # an IO processor of other tasks
    }
    assert "torch" in imported
    assert imported & needless == set()


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error(tmp_path, tiny):
    path = tmp_path / "docs.txt"
    path.write_text("cat\n" * 3000, encoding="utf-8")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "millpond", "embed", "-m", tiny, "-i", str(path)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert json.loads(stream.readline())["index"] == 0
    assert (process.communicate()[1], process.returncode) == ("", 0)


# Processes in the background of a shell ignore Ctrl-C; this one does not.
HANDLES_CTRL_C = """
import signal
from millpond_command import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name", "code"),
    [
        (signal.SIGTERM, "SIGTERM", 143),
        pytest.param(signal.SIGINT, "Ctrl-C", 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_command_and_removes_the_temporary_file(tmp_path, tiny, number, name, code):
    output = tmp_path / "out"
    output.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HANDLES_CTRL_C, "embed", "-m", tiny, "-o", str(output / "out.npy")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("the cat and the dog by the lake\n" * 2000)  # the command waits for the rest of its input
    process.stdin.flush()
    while process.poll() is None and sum(part.stat().st_size for part in output.iterdir()) < 10_000:
        time.sleep(0.05)
    process.send_signal(number)
    notes = process.communicate()[1].splitlines()
    assert re.fullmatch(rf"warning: interrupted by {name} after \d+ texts", notes[0])
    assert notes[1:] == [f"warning: {output / 'out.npy'} was not written"]
    assert process.returncode == code
    assert list(output.iterdir()) == []
