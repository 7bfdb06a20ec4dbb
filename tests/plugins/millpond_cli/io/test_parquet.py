"""Parquet: `embed` reads the columns that it needs, and writes vectors as lists of fixed size."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from millpond.testing import checkpoints
from millpond_cli.io.rows import Keys, count_rows, open_rows
from millpond_cli.io.source import choose_source
from millpond_command import cli, extras

TEXTS = ["Der Kater schläft.", "a cup of tea", "a flat tyre"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def source(tmp_path):
    table = pa.table({"id": [7, 8, 9], "body": TEXTS, "size": [1.5, 2.5, None]})
    pq.write_table(table, tmp_path / "docs.parquet")
    return str(tmp_path / "docs.parquet")


def run(*arguments):
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


def embed(*arguments):
    return run("embed", *arguments)


def same_rows(tmp_path, *arguments):
    """Run a command twice, and return its table in parquet and its objects in JSONL."""
    target = tmp_path / "out.parquet"
    done = run(*arguments, "-o", target)
    assert done.exit_code == 0, done.stderr
    table = pq.read_table(target)
    objects = [json.loads(line) for line in run(*arguments, "-f", "jsonl").stdout.splitlines()]
    assert table["num_tokens"].to_pylist() == [it["num_tokens"] for it in objects]
    return table, objects


def rows_of(path, **keys):
    return list(open_rows(choose_source([], str(path), None), Keys(**keys)))


def test_rows_have_text_id_and_location(source):
    first, *_, last = rows_of(source, text="body")
    assert (first.text, first.id, first.location) == (TEXTS[0], 7, f"{source}, row 0 (from 0)")
    assert (last.index, last.error) == (2, "")
    assert count_rows(choose_source([], source, None)) == 3


@pytest.mark.parametrize(("suffix", "new"), [("arrow", pa.ipc.new_stream), ("feather", pa.ipc.new_file)])
def test_files_of_arrow_are_read_like_parquet(tmp_path, source, suffix, new):
    path = tmp_path / f"docs.{suffix}"
    table = pq.read_table(source)
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert [(row.text, row.id) for row in rows_of(path, text="body")] == list(zip(TEXTS, [7, 8, 9], strict=True))
    assert count_rows(choose_source([], str(path), None)) == 3


def test_vectors_are_equal_to_those_of_jsonl(tmp_path, tiny, source):
    target = tmp_path / "vectors.parquet"
    done = embed("-m", tiny, "-i", source, "--text-column", "body", "--with-text", "-o", target)
    assert done.exit_code == 0, done.stderr
    table = pq.read_table(target)
    assert table.column_names == ["index", "id", "text", "num_tokens", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    assert (table["id"].to_pylist(), table["text"].to_pylist()) == ([7, 8, 9], TEXTS)
    lines = [json.loads(line) for line in embed("-m", tiny, *TEXTS).stdout.splitlines()]
    expected = np.array([line["embedding"] for line in lines], np.float32)
    assert np.abs(np.array(table["embedding"].to_pylist(), np.float32) - expected).max() <= 1e-6


def test_vectors_of_tokens_are_lists_of_lists(tmp_path, tiny):
    target = tmp_path / "tokens.parquet"
    assert embed("-m", tiny, "--task", "token_embed", *TEXTS, "-o", target).exit_code == 0
    table = pq.read_table(target)
    assert [len(it) for it in table["embedding"].to_pylist()] == table["num_tokens"].to_pylist()


def test_classes_have_a_column_each(tmp_path):
    model = checkpoints.tiny("BertForSequenceClassification", tmp_path / "model", num_labels=3)
    table, objects = same_rows(tmp_path, "classify", "-m", model, *TEXTS)
    assert table.column_names == ["index", "num_tokens", "label", "LABEL_0", "LABEL_1", "LABEL_2"]
    assert table.schema.field("LABEL_0").type == pa.float32()
    assert table["label"].to_pylist() == [it["label"] for it in objects]
    for label in ("LABEL_0", "LABEL_1", "LABEL_2"):
        expected = np.array([it["probs"][label] for it in objects], np.float32)
        assert (table[label].to_numpy() == expected).all()
    best, objects = same_rows(tmp_path, "classify", "-m", model, "--top-k", 1, *TEXTS)
    assert best["label_1"].to_pylist() == [it["label"] for it in objects]
    assert best.schema.field("probs_1").type == pa.float32()


def test_entities_are_a_list_of_structs(tmp_path):
    model = checkpoints.tiny("BertForTokenClassification", tmp_path / "model", num_labels=3)
    table, objects = same_rows(tmp_path, "classify", "-m", model, "--tokens", *TEXTS)
    assert table["entities"].type.value_type.field("start").type == pa.int32()
    names = ("label", "start", "end", "text")
    for row, expected in zip(table["entities"].to_pylist(), objects, strict=True):
        assert [[it[name] for name in names] for it in row] == [
            [it[name] for name in names] for it in expected["entities"]
        ]
    assert any(table["entities"].to_pylist())


@pytest.mark.parametrize("command", ["score", "rerank"])
def test_scores_of_pairs_from_parquet_are_written_to_parquet(tmp_path, tiny, source, command):
    queries = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"text": ["dry tea"]}), queries)
    inputs = {
        "score": ["--queries", queries, "--documents", source, "--document-column", "body", "--with-text"],
        "rerank": ["dry tea", "-i", source, "--text-column", "body"],
    }
    table, objects = same_rows(tmp_path, command, "-m", tiny, *inputs[command])
    assert table["id"].to_pylist() == [it["id"] for it in objects]
    assert table["document"].to_pylist() == [it["document"] for it in objects]
    assert (table["score"].to_numpy() == np.array([it["score"] for it in objects], np.float32)).all()
    assert ("rank" in table.column_names) == (command == "rerank")
    assert sorted(table["id"].to_pylist()) == [7, 8, 9]


def test_weights_of_tokens_are_lists(tmp_path):
    model = checkpoints.tiny("BertForMaskedLM", tmp_path / "model")
    checkpoints.write_sparse_encoder(model)
    table, objects = same_rows(
        tmp_path, "embed", "-m", model, "--sparse", "--with-tokens", "--max-active-dims", 5, *TEXTS
    )
    assert table.column_names == ["index", "num_tokens", "indices", "values", "tokens"]
    assert table["indices"].to_pylist() == [it["indices"] for it in objects]
    assert table["tokens"].to_pylist() == [it["tokens"] for it in objects]
    assert table.schema.field("values").type == pa.list_(pa.float32())


def test_raw_output_of_a_task_is_a_column(tmp_path, tiny):
    table, objects = same_rows(tmp_path, "encode", "-m", tiny, "--task", "embed", *TEXTS)
    assert table.schema.field("data").type == pa.list_(pa.float32(), 32)
    expected = np.array([it["data"] for it in objects], np.float32)
    assert np.abs(np.array(table["data"].to_pylist(), np.float32) - expected).max() <= 1e-6


def test_classes_of_tokens_are_refused(tmp_path, tiny):
    done = run("classify", "-m", tiny, "--per-token", "a text", "-o", tmp_path / "out.parquet")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "error: --per-token cannot be written as parquet")


def test_failing_rows_are_null(tmp_path, tiny):
    pq.write_table(pa.table({"text": [None, "tea", "word " * 200]}), tmp_path / "docs.parquet")
    done = embed("-m", tiny, "-i", tmp_path / "docs.parquet", "--on-error", "skip", "-o", tmp_path / "out.parquet")
    assert done.exit_code == 3
    assert "docs.parquet, row 0 (from 0): the field 'text' is null; expected a string" in done.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert [it is None for it in table["embedding"].to_pylist()] == [True, False, True]
    assert [bool(it) for it in table["error"].to_pylist()] == [True, False, True]


def test_an_input_without_rows_becomes_an_output_without_rows(tmp_path, tiny):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "docs.parquet")
    assert embed("-m", tiny, "-i", tmp_path / "docs.parquet", "-o", tmp_path / "out.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "out.parquet")["embedding"].type == pa.list_(pa.float32(), 32)


def test_ids_of_other_types_become_text(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "id": [date(2026, 1, 2)]}), tmp_path / "docs.parquet")
    assert rows_of(tmp_path / "docs.parquet")[0].id == "2026-01-02"


def test_fields_of_objects_are_read_by_path(tmp_path):
    pq.write_table(pa.table({"meta": [{"body": "tea", "lang": "en"}]}), tmp_path / "docs.parquet")
    assert rows_of(tmp_path / "docs.parquet", text="meta.body")[0].text == "tea"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "{source}"], "docs.parquet has no column 'text'. Available: id, body, size"),
        (["-i", "{source}", "--text-key", "size"], "field 'size': expected a string, got float"),
        (["--input-format", "parquet"], "parquet cannot be read from stdin"),
        (["-i", "{source}", "--sparse", "-f", "npy"], "expected one of table, jsonl, json, csv, parquet"),
        (["-i", "{damaged}"], "not a parquet file, or damaged"),
        (["-i", "{repeated}"], "repeated.parquet has 2 columns 'text'"),
    ],
)
def test_errors_name_the_file_and_the_columns(tmp_path, tiny, source, arguments, message):
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "repeated.parquet")
    places = {"source": source, **{name: tmp_path / f"{name}.parquet" for name in ("damaged", "repeated")}}
    done = embed("-m", tiny, *(argument.format(**places) for argument in arguments))
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_pyarrow_the_extra_is_named(monkeypatch, source):
    find_spec = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name))
    done = embed("-i", source)
    assert done.exit_code == 2
    assert "needs pyarrow, which the extra 'jobs' installs" in done.stderr
    assert "needs pyarrow" in embed("a text", "-f", "parquet").stderr


def test_many_rows_with_the_same_error_are_counted(tmp_path, tiny):
    source = tmp_path / "nulls.parquet"
    pq.write_table(pa.table({"text": ["a", *[None] * 236]}), source)
    done = embed("-m", tiny, "-i", source, "--on-error", "skip", "-o", tmp_path / "out.parquet")
    assert done.exit_code == 3
    lines = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert [line.partition("row ")[2] for line in lines[:3]] == [
        f"{index} (from 0): the field 'text' is null; expected a string" for index in (1, 2, 3)
    ]
    assert lines[3:] == [
        "warning: 233 more rows: the field 'text' is null; expected a string",
        "warning: 236 of 237 texts failed and have no result",
    ]
