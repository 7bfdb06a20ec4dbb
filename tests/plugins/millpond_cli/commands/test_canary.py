"""``millpond canary``: vectors beside an index, and whether a model still answers them."""

import json

import pytest
from golden_checkpoints import stanford
from typer.testing import CliRunner

from millpond.testing import checkpoints
from millpond_cli.commands import canary as command
from millpond_command import cli

SETTINGS = "config_sentence_transformers.json"


def canary(*arguments):
    return CliRunner().invoke(cli.app, ["canary", *map(str, arguments)])


def report(*arguments):
    return json.loads(canary("check", *arguments, "--json").stdout)


@pytest.fixture
def model(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "model")
    checkpoints.write_sentence_transformers(folder, prompts={"query": "query: "})
    return folder


@pytest.fixture
def index(model, tmp_path):
    """An index with its canary."""
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"")
    assert canary("write", path, "-m", model).exit_code == 0
    return path


def test_the_same_model_answers_in_all_bits(index, tmp_path):
    done = canary("check", index)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "bits    8 of 8 vectors are equal in all bits",
        "cosine  at least 1.000000, for text 1",
        "change  none in files and settings",
        "The model still answers the canary.",
    ]
    assert canary("check", tmp_path / "vectors.canary.json").exit_code == 0


def test_another_dtype_changes_bits_and_not_the_answer(index):
    checked = report(index, "--dtype", "bfloat16")
    assert checked["same"]
    assert checked["equal"] < 8
    assert "the dtype differs: bfloat16 here, float32 there" in checked["differences"]


def test_a_changed_query_prompt_changes_queries_only(index, model):
    (model / SETTINGS).write_text(json.dumps({"prompts": {"query": "the old mill by the river: "}}))
    done = canary("check", index, "--min-cosine", 0.9999)
    assert done.exit_code == 1
    assert "the query prompt differs: 'the old mill by the river: ' here, 'query: ' there" in done.stdout
    cosines = report(index)["cosines"]
    assert max(cosines[:4]) < 0.9999
    assert min(cosines[4:]) == pytest.approx(1)


def test_a_model_with_shorter_vectors_does_not_answer(index, tmp_path):
    other = checkpoints.tiny("BertModel", tmp_path / "other", hidden_size=16)
    done = canary("check", index, "--model", other)
    assert done.exit_code == 1
    assert "The answers differ: below 0.99." in done.stdout


def test_vectors_of_tokens_are_compared(tmp_path):
    stanford()(tmp_path / "colbert")
    assert canary("write", tmp_path, "-m", tmp_path / "colbert").exit_code == 0
    assert report(tmp_path)["equal"] == 8
    vectors = json.loads((tmp_path / "canary.json").read_text())["vectors"]
    assert all(isinstance(it[0], list) for it in vectors)


def test_a_canary_is_not_replaced_and_is_an_expected_space(index, model, tmp_path):
    done = canary("write", index, "-m", model)
    assert (done.exit_code, "exists" in done.stderr) == (1, True)
    words = ["embed", "-m", str(model), "a mill", "--expect-space", str(tmp_path / "vectors.canary.json")]
    assert CliRunner().invoke(cli.app, words).exit_code == 0


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"format": 2}', json.dumps({"format": 1, "vectors": []}), '{"vectors": [["a"]]}']
)
def test_a_file_that_is_not_a_canary_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert canary("check", path).exit_code == 2


def test_the_texts_are_fixed():
    assert len(command.TEXTS) == 8
    assert [input_type for input_type, _ in command.TEXTS] == ["query"] * 4 + ["document"] * 4
