"""``millpond embed --sparse``: the weights of ``LLM.embed_sparse`` in each format; and input types."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing.checkpoints import (
    tiny,
    write_sentence_transformers,
    write_sparse_autoencoder,
    write_sparse_encoder,
)
from millpond_command import cli

TEXTS = ["the cat sat on the mill", "rain, and snow"]
FAILS = "mill " * 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tiny("BertForMaskedLM", tmp_path_factory.mktemp("sparse") / "model")
    write_sparse_encoder(folder)
    return str(folder)


@pytest.fixture(scope="module")
def expected(folder):
    with LLM(folder, num_workers=1) as llm:
        return [output.outputs for output in llm.embed_sparse(TEXTS, return_tokens=True, use_tqdm=False)]


def embed(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["embed", *arguments], input=stdin)


def told(done):
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_records_have_indices_and_values(folder, expected):
    for line, weights in zip(told(embed("-m", folder, "--sparse", *TEXTS)), expected, strict=True):
        assert set(line) == {"index", "num_tokens", "indices", "values"}
        assert line["indices"] == weights.indices.tolist()
        np.testing.assert_allclose(line["values"], weights.values, rtol=1e-5)


def test_tokens_and_the_heaviest_on_request(folder, expected):
    lines = told(embed("-m", folder, "--sparse", "--with-tokens", "--max-active-dims", "3", *TEXTS))
    for line, weights in zip(lines, expected, strict=True):
        names = dict(zip(weights.indices.tolist(), weights.tokens, strict=True))
        assert line["indices"] == sorted(token for token, _ in weights.top(3))
        assert line["tokens"] == [names[token] for token in line["indices"]]


def test_csv_has_lists_in_its_cells(folder, expected, tmp_path):
    path = tmp_path / "weights.csv"
    assert embed("-m", folder, "--sparse", "--with-tokens", "--with-text", "-o", str(path), *TEXTS).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["index", "text", "num_tokens", "indices", "values", "tokens"]
    for row, text, weights in zip(rows, TEXTS, expected, strict=True):
        assert row["text"] == text
        assert json.loads(row["indices"]) == weights.indices.tolist()
        assert tuple(json.loads(row["tokens"])) == weights.tokens


def test_a_table_has_the_heaviest(folder, expected):
    done = embed("-m", folder, "--sparse", "-f", "table", *TEXTS)
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["NO", "TERMS", "LARGEST", "WEIGHTS"]
    for number, (line, weights) in enumerate(zip(lines, expected, strict=True), start=1):
        names = dict(zip(weights.indices.tolist(), weights.tokens, strict=True))
        assert line.split()[:2] == [str(number), str(weights.num_terms)]
        assert line.endswith(", ".join(f"{names[token]} {weight:.2f}" for token, weight in weights.top(8)))


def test_texts_that_fail_are_skipped(folder):
    done = embed("-m", folder, "--sparse", "--on-error", "skip", stdin=f"a\n{FAILS}\n")
    assert done.exit_code == 3
    good, bad = map(json.loads, done.stdout.splitlines())
    assert good["indices"]
    assert "indices" not in bad
    assert "maximum context length" in bad["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with-tokens"], "--with-tokens requires --sparse"),
        (["--max-active-dims", "3"], "--max-active-dims requires --sparse"),
        (["--sparse", "--dimensions", "3"], "--dimensions and --sparse cannot be used together"),
        (["--sparse", "--normalize"], "--normalize and --sparse cannot be used together"),
        (["--sparse", "--task", "token_embed"], "--task and --sparse cannot be used together"),
        (["--sparse", "-f", "npy"], "expected one of table, jsonl, json, csv"),
    ],
    ids=" ".join,
)
def test_contradictory_options_are_refused(arguments, message):
    done = embed(*arguments, "a")
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_error_of_a_model_without_such_weights_states_it(tmp_path):
    done = embed("-m", str(tiny("BertModel", tmp_path)), "--sparse", "a")
    assert done.exit_code == 1
    assert "has no sparse embeddings" in done.stderr


def test_the_input_type_of_texts_may_be_specified(tmp_path):
    folder = tiny("BertModel", tmp_path)
    config = {"model_type": "ColBERT", "query_prefix": "[unused0]", "query_length": 12}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    (line,) = told(embed("-m", str(folder), "--task", "token_embed", "--input-type", "query", "a mill"))
    assert len(line["embedding"]) == 12
    done = embed("-m", str(folder), "--task", "token_embed", "--input-type", "passage", "a")
    assert "input_type='passage': expected 'query' or 'document'" in done.stderr


def test_features_of_a_sparse_code_are_named_by_their_numbers(tmp_path):
    folder = tiny("BertModel", tmp_path / "model")
    write_sentence_transformers(folder, normalize=False)
    write_sparse_autoencoder(folder)
    for line in told(embed("-m", str(folder), "--sparse", "--with-tokens", *TEXTS)):
        assert len(line["indices"]) == 9
        assert line["tokens"] == [str(number) for number in line["indices"]]
