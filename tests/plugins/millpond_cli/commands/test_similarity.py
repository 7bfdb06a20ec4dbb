"""``millpond similarity``: the cosines of texts, as tab-separated values, JSON, or a table for a terminal."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli.commands import similarity as command
from millpond_command import cli

TEXTS = ["a cup of tea", "a mug\tof coffee", "a flat tyre"]


def similarity(*arguments):
    return CliRunner().invoke(cli.app, ["similarity", *arguments])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def cosines(tiny):
    with LLM(tiny) as llm:
        vectors = np.stack([output.outputs.array for output in llm.embed(TEXTS, use_tqdm=False)])
    return vectors @ vectors.T


def test_related_texts_are_more_alike():
    done = similarity(*TEXTS)
    assert (done.exit_code, done.stderr) == (0, "")
    (coffee, first), (tyre, second) = (line.split("\t") for line in done.stdout.splitlines())
    assert (first, second) == ("a mug\\tof coffee", "a flat tyre")
    assert float(coffee) > 0.5
    assert float(tyre) < 0.2


def test_a_text_that_is_the_name_of_a_file_is_refused(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a cup of tea\n")
    done = similarity("a mug of coffee", str(path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{str(path)!r} is a file, but arguments are texts" in done.stderr
    assert "pass the text itself" in done.stderr


def test_json_of_a_list_and_of_a_matrix(tiny, cosines):
    report = json.loads(similarity("-m", tiny, "--json", *TEXTS).stdout)
    assert report["texts"] == TEXTS
    assert (report["model"], report["similarity"]) == (tiny, "cosine")
    assert np.abs(np.array(report["scores"]) - cosines[0, 1:]).max() < 1e-5
    report = json.loads(similarity("-m", tiny, "--json", "--matrix", *TEXTS).stdout)
    assert np.abs(np.array(report["scores"]) - cosines).max() < 1e-5


def test_the_similarity_of_unnormalized_vectors_is_the_cosine(tiny, cosines):
    done = similarity("-m", tiny, "--json", *TEXTS, "--pooler-config", '{"use_activation": false}')
    assert np.abs(np.array(json.loads(done.stdout)["scores"]) - cosines[0, 1:]).max() < 1e-5


def test_a_matrix_as_tab_separated_values(tiny, cosines):
    header, *rows = (line.split("\t") for line in similarity("-m", tiny, "--matrix", *TEXTS).stdout.splitlines())
    assert header == ["text", "a cup of tea", "a mug\\tof coffee", "a flat tyre"]
    assert [row[0] for row in rows] == header[1:]
    assert np.abs(np.array([row[1:] for row in rows], dtype=float) - cosines).max() < 1e-5


@pytest.mark.parametrize("option", [[], ["--matrix"]])
def test_a_terminal_gets_a_table(tiny, monkeypatch, option):
    monkeypatch.setattr(command, "is_terminal", lambda: True)
    done = similarity("-m", tiny, *option, "cat", "猫が寝ている", "a dog")
    lines = done.stdout.splitlines()
    assert lines[0].split() == (["1", "2", "3"] if option else ["cat"])
    assert "\t" not in done.stdout
    assert "\x1b" not in done.stdout
    if option:
        assert lines[1].split() == ["1", "1.0000", *lines[1].split()[2:4], "cat"]


def test_one_text_is_refused():
    done = similarity("alone")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: expected at least 2 texts, got 1\n")


def test_the_error_names_the_invalid_text(tiny):
    done = similarity("-m", tiny, "cat", "word " * 100)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: text 2: This model's maximum context length is 64 tokens.")
    assert done.stderr.endswith("hint: --truncate truncates long texts\n")
    assert similarity("-m", tiny, "cat", "word " * 100, "--truncate").exit_code == 0
