"""``millpond rerank``: documents by score, with their indices, in each format, and as a table on a terminal."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli import stream
from millpond_cli.commands.rerank import in_order
from millpond_cli.io import formats, terminal
from millpond_cli.io.results import Result
from millpond_cli.io.rows import Row
from millpond_command import cli, tables

QUERY = "how do I dry tea"
DOCUMENTS = [
    "The tyre is flat.",
    "Spread tea leaves in the sun until they are dry.",
    "Coffee is roasted.",
    "Tea grows.",
]


def rerank(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["rerank", *map(str, arguments)], input=stdin)


def lines_of(done):
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A cross-encoder that loads in no time."""
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path_factory.mktemp("tiny") / "model", num_labels=1)
    return str(folder)


@pytest.fixture(scope="module")
def crossed(tiny):
    """The score of each document, [num_documents]."""
    with LLM(tiny) as llm:
        return np.array([one.outputs.score for one in llm.score(QUERY, DOCUMENTS, use_tqdm=False)])


def test_minilm_ranks_the_answer_first():
    lines = lines_of(rerank(QUERY, *DOCUMENTS))
    with LLM("sentence-transformers/all-MiniLM-L6-v2") as llm:
        query, *vectors = [one.outputs.array for one in llm.embed([QUERY, *DOCUMENTS], use_tqdm=False)]
    cosines = np.array(vectors) @ query
    assert [line["index"] for line in lines] == np.argsort(-cosines).tolist()
    assert lines[0]["document"] == DOCUMENTS[1]
    assert np.abs(np.array([line["score"] for line in lines]) - np.sort(cosines)[::-1]).max() <= 1e-5


def test_each_document_has_rank_place_text_and_score(tiny, crossed):
    lines = lines_of(rerank("-m", tiny, QUERY, stdin="\n".join(DOCUMENTS)))
    assert [list(line) for line in lines] == [["rank", "index", "document", "num_tokens", "score"]] * 4
    order = np.argsort(-crossed)
    assert [line["rank"] for line in lines] == [1, 2, 3, 4]
    assert [line["index"] for line in lines] == order.tolist()
    assert [line["document"] for line in lines] == [DOCUMENTS[index] for index in order]
    assert np.abs(np.array([line["score"] for line in lines]) - crossed[order]).max() <= 1e-6


def test_top_n_shows_only_the_best_documents(tiny, crossed):
    lines = lines_of(rerank("-m", tiny, QUERY, *DOCUMENTS, "--top-n", 2))
    assert [line["index"] for line in lines] == np.argsort(-crossed)[:2].tolist()
    assert len(lines_of(rerank("-m", tiny, QUERY, *DOCUMENTS, "-n", 9))) == 4


def test_a_file_in_and_a_file_out(tmp_path, tiny, crossed):
    source, target = tmp_path / "docs.jsonl", tmp_path / "ranked.csv"
    rows = [{"body": text, "doc": f"k{number}"} for number, text in enumerate(DOCUMENTS)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = rerank("-m", tiny, QUERY, "-i", source, "--text-key", "body", "--id-key", "doc", "-o", target)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    header, *records = csv.reader(io.StringIO(target.read_text(encoding="utf-8")))
    assert header == ["rank", "index", "id", "document", "num_tokens", "score"]
    assert [record[2] for record in records] == [f"k{index}" for index in np.argsort(-crossed)]


def test_a_terminal_gets_a_table_cut_to_its_width(monkeypatch, tiny, crossed):
    monkeypatch.setattr(formats, "is_terminal", lambda: True)
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    done = rerank("-m", tiny, QUERY, *DOCUMENTS)
    heading, first, *_ = done.stdout.splitlines()
    assert heading.split() == ["RANK", "SCORE", "NO", "DOCUMENT"]
    best = int(crossed.argmax())
    assert first.split()[:3] == ["1", f"{crossed[best]:.4f}", str(best + 1)]
    assert max(map(len, done.stdout.splitlines())) <= 30
    assert any(line.endswith("…") for line in done.stdout.splitlines())


def test_the_progress_bar_ends_before_the_table_begins(monkeypatch, tiny):
    events = []

    class Recorded(stream.Progress):
        def close(self):
            events.append("bar closed")
            super().close()

    monkeypatch.setattr(stream, "Progress", Recorded)
    monkeypatch.setattr(
        terminal, "table", lambda *arguments, **named: (events.append("table"), tables.table(*arguments, **named))[1]
    )
    assert rerank("-m", tiny, QUERY, *DOCUMENTS, "-f", "table").exit_code == 0
    assert events[:2] == ["bar closed", "table"]


def test_a_table_can_be_requested_and_has_ids(tmp_path, tiny, crossed):
    source = tmp_path / "docs.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *((f"k{n}", text) for n, text in enumerate(DOCUMENTS))])
    done = rerank("-m", tiny, QUERY, "-i", source, "-f", "table")
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["RANK", "SCORE", "ID", "DOCUMENT"]
    assert [row.split()[2] for row in rows] == [f"k{index}" for index in np.argsort(-crossed)]
    assert rows[0].endswith(DOCUMENTS[int(crossed.argmax())])


def test_equal_scores_keep_the_order_of_the_input():
    results = [Result(row=Row(n, "", ""), value=np.float32(value)) for n, value in enumerate([1, 3, 2, 3, 1, 2])]
    for top in (None, 6, 4):
        ranked = in_order(results, top)
        assert [result.row.index for result in ranked] == [1, 3, 2, 5, 0, 4][:top]
        assert [result.rank for result in ranked] == [1, 2, 3, 4, 5, 6][:top]


def test_documents_that_fail_have_no_rank(tiny):
    lines = f"cat\n{'word ' * 100}\ndog\n"
    done = rerank("-m", tiny, QUERY, "--on-error", "skip", stdin=lines)
    assert done.exit_code == 3
    assert sorted(json.loads(line)["index"] for line in done.stdout.splitlines()) == [0, 2]
    assert done.stderr.startswith("warning: stdin, line 2: ")
    done = rerank("-m", tiny, QUERY, stdin=lines)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: stdin, line 2: ")


def test_an_empty_query_is_ranked_as_by_llm_score(tiny):
    with LLM(tiny) as llm:
        (expected,) = llm.score("", "cat", use_tqdm=False)
    done = rerank("-m", tiny, "", "cat", "-f", "jsonl")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["score"] == pytest.approx(expected.outputs.score, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'QUERY'."),
        (["query", "cat", "-i", "docs.txt"], "both arguments and read from --input"),
        (["query", "cat", "--top-n", "0"], "--top-n"),
        (["query", "cat", "-f", "npy"], "--format 'npy': expected one of table, jsonl, json, csv"),
        (["query", "cat", "-o", "out.npz"], "Known suffixes: .jsonl, .json, .csv"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_loaded(monkeypatch, arguments, message):
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: pytest.fail("it loads the model"))
    done = rerank(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
