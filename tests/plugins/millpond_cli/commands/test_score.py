"""``millpond score``: pairs from each kind of input, with the scores of vectors or of a cross-encoder."""

import csv
import io
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli.io.pairs import pairs_of
from millpond_cli.options import PairInputOptions
from millpond_command import cli
from millpond_command.cli import CommandError

QUERIES = ["how warm is the water", "where does the dog sleep", "a small boat"]
DOCUMENTS = ["The water is cold in winter.", "Dogs sleep by the door.", "Ships are large."]
PAIRS = list(zip(QUERIES, DOCUMENTS, strict=True))
WORDS = ("cat", "dog", "fish", "bird", "lake")
LONG_TEXT = "word " * 100
TOLERANCE = 1e-5


def score(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, ["score", *map(str, arguments)], input=stdin)


def scores_of(done):
    assert done.exit_code == 0, done.stderr
    return np.array([json.loads(line)["score"] for line in done.stdout.splitlines()])


def write(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A cross-encoder that loads in no time: one score, 64 tokens at most."""
    folder = checkpoints.tiny("BertForSequenceClassification", tmp_path_factory.mktemp("tiny") / "model", num_labels=1)
    return str(folder)


@pytest.fixture(scope="module")
def crossed(tiny):
    """The scores of each query with each document, [num_queries, num_documents]."""
    with LLM(tiny) as llm:
        rows = [[one.outputs.score for one in llm.score(query, DOCUMENTS, use_tqdm=False)] for query in QUERIES]
    return np.array(rows)


# --- with the real MiniLM ---------------------------------------------------------------------------------------------


def test_scores_of_an_embedding_model_are_cosines(tmp_path):
    with LLM("sentence-transformers/all-MiniLM-L6-v2") as llm:
        vectors = np.stack([one.outputs.array for one in llm.embed(QUERIES + DOCUMENTS, use_tqdm=False)])
    cosines = vectors[:3] @ vectors[3:].T
    assert np.abs(scores_of(score(QUERIES[0], *DOCUMENTS)) - cosines[0]).max() <= TOLERANCE
    done = score("--queries", write(tmp_path / "q.txt", QUERIES), "-d", write(tmp_path / "d.txt", DOCUMENTS))
    assert np.abs(scores_of(done) - cosines.diagonal()).max() <= TOLERANCE
    assert done.stderr == ""


# --- where pairs come from --------------------------------------------------------------------------------------------


def test_arguments_are_a_query_and_documents(tiny, crossed):
    done = score("-m", tiny, QUERIES[1], *DOCUMENTS)
    assert np.abs(scores_of(done) - crossed[1]).max() <= TOLERANCE
    (line, *_) = map(json.loads, done.stdout.splitlines())
    assert list(line) == ["index", "num_tokens", "score"]
    with LLM(tiny) as llm:
        assert line["num_tokens"] == llm.score(QUERIES[1], DOCUMENTS[0], use_tqdm=False)[0].num_prompt_tokens


@pytest.mark.parametrize("arguments", [[], ["-"], ["-i", "-"]])
def test_lines_with_a_tab(tiny, crossed, arguments):
    lines = "\n".join(map("\t".join, PAIRS))
    assert np.abs(scores_of(score("-m", tiny, *arguments, stdin=lines)) - crossed.diagonal()).max() <= TOLERANCE


def test_a_file_of_pairs_with_keys(tmp_path, tiny, crossed):
    rows = [{"q": query, "d": text, "id": number} for number, (query, text) in enumerate(PAIRS)]
    done = score(
        *("-m", tiny, "-i", write(tmp_path / "pairs.jsonl", rows), "--query-key", "q", "--document-key", "d"),
        "--with-text",
    )
    assert np.abs(scores_of(done) - crossed.diagonal()).max() <= TOLERANCE
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["id"], line["query"], line["document"]) for line in lines] == [
        (number, query, text) for number, (query, text) in enumerate(PAIRS)
    ]


def test_csv_in_and_out(tmp_path, tiny, crossed):
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["document", "more", "query"], *((d, "", q) for q, d in PAIRS)])
    done = score("-m", tiny, "-i", path, "-f", "csv", "--with-text")
    header, *records = csv.reader(io.StringIO(done.stdout))
    assert header == ["index", "id", "query", "document", "num_tokens", "score"]
    assert [record[2:4] for record in records] == [list(pair) for pair in PAIRS]
    assert np.abs(np.array([record[-1] for record in records], dtype=float) - crossed.diagonal()).max() <= TOLERANCE


def test_one_query_for_a_file_of_documents(tmp_path, tiny, crossed):
    documents = write(tmp_path / "docs.jsonl", [{"body": text, "id": text[:3]} for text in DOCUMENTS])
    (tmp_path / "query.txt").write_text(QUERIES[2], encoding="utf-8")
    for queries in ([QUERIES[2]], ["--queries", tmp_path / "query.txt"]):
        done = score("-m", tiny, *queries, "--documents", documents, "--document-key", "body")
        assert np.abs(scores_of(done) - crossed[2]).max() <= TOLERANCE
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["The", "Dog", "Shi"]


def test_more_than_one_piece_keeps_its_order(tmp_path, tiny):
    texts = [f"{WORDS[n % 5]} {n}" for n in range(1300)]
    results = scores_of(score("-m", tiny, "a dog", "-d", write(tmp_path / "docs.txt", texts)))
    with LLM(tiny) as llm:
        whole = np.array([one.outputs.score for one in llm.score("a dog", texts, use_tqdm=False)])
    assert np.abs(results - whole).max() <= TOLERANCE


def rows_of(texts=(), **reading):
    pairs = pairs_of(texts, PairInputOptions(**{name: str(value) for name, value in reading.items()}))
    return [(row.query, row.text, row.location.partition(", ")[2], row.error) for row in pairs.rows()]


def test_an_invalid_pair_does_not_affect_others(tmp_path):
    path = write(tmp_path / "pairs.txt", ["a\tb", "no tab", "c\td\te", "f\tg"])
    assert rows_of(input_path=path) == [
        ("a", "b", "line 1", ""),
        (None, "", "line 2", "expected a query, one tab and a document; got 0 tabs"),
        (None, "", "line 3", "expected a query, one tab and a document; got 2 tabs"),
        ("f", "g", "line 4", ""),
    ]
    path = write(tmp_path / "pairs.jsonl", ['"a"', {"query": "a"}, {"document": "b"}, {"query": 1, "document": "b"}])
    assert [re.split(r"; |\. Available", error)[0] for *_, error in rows_of(input_path=path)] == [
        "expected a JSON object",
        "no field 'document'",
        "no field 'query'",
        "field 'query': expected a string, got int",
    ]
    path = write(tmp_path / "pairs.csv", ["query,document", "a,b", "c"])
    assert [error for *_, error in rows_of(input_path=path)] == [
        "",
        "the record has 1 fields, but the pair requires field 2",
    ]


def test_an_invalid_query_is_reported_with_its_document(tmp_path):
    queries = write(tmp_path / "q.jsonl", [{"text": "a"}, {"no": 1}, {"text": "c"}])
    documents = write(tmp_path / "d.txt", ["x", "y", "z"])
    _, second, third = rows_of(queries=queries, documents=documents)
    assert second[3] == "no field 'text'. Available: no. Name the field of the text with --query-key"
    assert third == ("c", "z", f"line 3, with {queries}, line 3", "")


@pytest.mark.parametrize(("queries", "documents", "missing"), [(3, 2, "document"), (2, 3, "query")])
def test_the_numbers_of_queries_and_documents_must_agree(tmp_path, queries, documents, missing):
    files = {
        "queries": write(tmp_path / "q.txt", QUERIES[:queries]),
        "documents": write(tmp_path / "d.txt", DOCUMENTS[:documents]),
    }
    with pytest.raises(CommandError, match=f"has more rows than .* line 3 has no {missing}"):
        rows_of(**files)


def test_a_file_without_a_query_is_refused(tmp_path):
    with pytest.raises(CommandError, match="contains no query"):
        rows_of(queries=write(tmp_path / "q.txt", []), documents=write(tmp_path / "d.txt", ["x"]))


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_pair_that_is_too_long_fails_by_its_line(tiny):
    lines = f"a\tb\nc\t{LONG_TEXT}\ne\tf\n"
    done = score("-m", tiny, stdin=lines)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("error: stdin, line 2: ")
    assert "--truncate truncates long texts" in done.stderr
    skipped = score("-m", tiny, "--on-error", "skip", stdin=lines)
    assert skipped.exit_code == 3
    assert ["score" in json.loads(line) for line in skipped.stdout.splitlines()] == [True, False, True]
    cut = score("-m", tiny, "--truncate", stdin=lines)
    assert len(scores_of(cut)) == 3
    assert cut.stderr == "warning: 1 of 3 texts were truncated to 64 tokens\n"


def test_a_model_with_several_classes_returns_no_scores(tmp_path):
    model = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3)
    done = score("-m", model, "a", "b")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Scoring API is only enabled for num_labels == 1." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query"], "the document is missing"),
        (["a", "b", "-i", "pairs.txt"], "both arguments and read from --input"),
        (["a", "b", "--documents", "d.txt"], "cannot be combined with other sources"),
        (["a", "--queries", "q.txt", "--documents", "d.txt"], "cannot be combined with other sources"),
        (["-i", "p.txt", "--documents", "d.txt", "--queries", "q.txt"], "cannot be combined with other sources"),
        (["--queries", "q.txt"], "--documents is missing; a pair consists of a query and a document"),
        (["--documents", "d.txt"], "QUERY or --queries is missing"),
        (["--queries", "-", "--documents", "-"], "cannot both be stdin"),
        (["-i", "p.txt", "--query-key", "q"], "--query-key requires JSONL"),
        (["-i", "p.txt", "--document-key", "d"], "--document-key requires JSONL"),
        (["a", "b", "-f", "npy"], "--format 'npy': expected one of jsonl, json, csv"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_loaded(monkeypatch, arguments, message):
    monkeypatch.setattr(LLM, "__init__", lambda *_, **__: pytest.fail("it loads the model"))
    done = score(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
