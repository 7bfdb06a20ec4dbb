"""Tests of the task addon_name."""

import json

import numpy as np
import pytest
from millpond import LLM, InvalidInputError
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import IOProcessorConformance, TaskConformance
from millpond_command.cli import app
from millpond_server.testing import running_server
from typer.testing import CliRunner

ITEM = {"title": "Tea", "text": "a cup of tea"}


class TestAddonNameTask(TaskConformance):
    """The requirements of the task's record."""

    name = "addon_name"


class TestAddonNameProcessor(IOProcessorConformance):
    """The requirements of the IO processor."""

    name = "addon_name"
    items = (ITEM, {"text": "no"}, {"text": "the old mill", "title": "A title of several words"})


@pytest.fixture
def model(tmp_path):
    """Return the folder of a small model."""
    return str(tiny("BertModel", tmp_path / "model"))


@pytest.fixture
def expected(model):
    """Return the bits of the item: the signs of the vector of the task embed."""
    with LLM(model) as llm:
        (vector,) = llm.embed("Tea a cup of tea")
    return np.packbits(vector.outputs.array[:16] > 0).tobytes().hex()


def test_bits_are_the_signs_of_the_vector(model, expected):
    """Call the method of the task."""
    with LLM(model) as llm:
        (output,) = llm.addon_name(ITEM, bits=16)
    assert output.outputs.bits == expected


def test_invalid_items_and_options_are_refused(model):
    """The error names the field."""
    with LLM(model) as llm:
        with pytest.raises(InvalidInputError, match="bits: 8000 requested"):
            llm.addon_name(ITEM, bits=8000)
        with pytest.raises(InvalidInputError, match=r"Unknown field 'titel'\. Available: text, title"):
            llm.addon_name({"text": "a cup of tea", "titel": "Tea"})


def test_the_server_serves_the_task(model, expected):
    """Send an object to /pooling."""
    body = {"task": "addon_name", "data": ITEM, "extra_kwargs": {"bits": 16}}
    with running_server(model) as server:
        answer = server.request("POST", "/pooling", json=body)
    assert answer.status == 200, answer.text
    assert answer.json()["data"][0]["data"] == {"bits": expected}


def test_the_command_line_runs_the_task(model, expected, tmp_path):
    """Each line of a file is an item."""
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(ITEM), encoding="utf-8")
    words = ["encode", "-m", model, "--task", "addon_name", "--option", "bits=16", "-i", str(path), "-f", "jsonl"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["data"] == {"bits": expected}
