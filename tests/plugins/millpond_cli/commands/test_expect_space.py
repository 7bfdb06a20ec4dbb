"""``--expect-space`` of embed and search, and the descriptor of the space with files of vectors."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_checkpoints.space import METADATA_KEY
from millpond_command import cli


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.tiny("BertModel", tmp_path_factory.mktemp("space") / "model", is_matryoshka=True)
    checkpoints.write_sentence_transformers(folder, prompts={"query": "query: "})
    return str(folder)


@pytest.fixture(scope="module")
def space(model):
    with LLM(model, num_workers=1) as llm:
        return llm.space


@pytest.fixture
def embed(model):
    def embed(*arguments):
        words = map(str, ("embed", "-m", model, "a mill", *arguments))
        return CliRunner().invoke(cli.app, [*words])

    return embed


@pytest.mark.parametrize("name", ["v.parquet", "v.npy"])
def test_vectors_are_stored_with_a_descriptor_that_is_expected_later(embed, space, tmp_path, name):
    assert embed("-o", tmp_path / name).exit_code == 0
    assert embed("--expect-space", tmp_path / name).exit_code == 0
    done = embed("--expect-space", tmp_path / name, "--dimensions", 8, "--no-normalize")
    assert done.exit_code == 1
    message = " ".join(done.stderr.split())
    assert "the number of dimensions differs: 8 here, 32 there" in message
    assert "the normalization differs: False here, True there" in message
    if name == "v.npy":
        assert json.loads((tmp_path / "v.space.json").read_text()) == space.descriptor
    else:
        assert json.loads(pq.read_schema(tmp_path / name).metadata[METADATA_KEY.encode()]) == space.descriptor


def test_an_id_is_expected(embed, space):
    assert embed("--expect-space", space.id).exit_code == 0
    assert embed("--expect-space", "0" * 16).exit_code == 1


def test_a_file_without_a_descriptor_is_refused_before_loading(embed, tmp_path):
    (tmp_path / "v.csv").write_text("")
    for name in ("v.csv", "missing.json"):
        assert embed("--expect-space", tmp_path / name).exit_code == 2


def test_a_search_compares_the_prompts_of_both_sides(model, space, tmp_path):
    (tmp_path / "notes.txt").write_text("a mill")
    (tmp_path / "space.json").write_text(json.dumps(space.descriptor))
    words = ["search", "mill", str(tmp_path / "notes.txt"), "--no-index", "-m", model]
    expected = ["--expect-space", str(tmp_path / "space.json")]
    assert CliRunner().invoke(cli.app, [*words, *expected]).exit_code == 0
    done = CliRunner().invoke(cli.app, [*words, *expected, "--query-prompt", ""])
    assert done.exit_code == 1
    assert "the query prompt differs: '' here, 'query: ' there" in " ".join(done.stderr.split())
