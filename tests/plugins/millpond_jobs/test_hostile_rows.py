"""Rows that cannot be read or stored fail alone; files that cannot be read end with an error that names the place."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millpond_jobs import Recipe, run, verify
from millpond_recipes.errors import InputError
from millpond_recipes.sources import records

CAT = {"id": "a", "text": "the cat"}
ROWS = {
    "unused field with a mixed list": ({**CAT, "other": [1, "a"]}, None),
    "unused field with a huge integer": ({**CAT, "other": 2**70}, None),
    "unused field with a lone surrogate": ({**CAT, "other": {"\ud800": "\udfff"}}, None),
    "text with NUL": ({**CAT, "text": "c\0at"}, None),
    "empty id and text": ({"id": "", "text": ""}, None),
    "id with a lone surrogate": ({**CAT, "id": "\ud800"}, "'id' has a lone surrogate at character 0"),
    "text with a lone surrogate": ({**CAT, "text": "cat \udfff"}, "'text' has a lone surrogate at character 4"),
    "message with a lone surrogate": ({**CAT, "text": [{"role": "user", "content": "\ud800"}]}, "has a lone surrogate"),
    "id that is an object": ({**CAT, "id": {"a": 1}}, "'id' is dict; expected text"),
    "id that is a truth value": ({**CAT, "id": True}, "'id' is bool; expected text"),
    "text that is NaN": ('{"id": "a", "text": NaN}', "'text' is a number; expected text"),
    "row without text": ({"id": "a"}, "it has no 'text'"),
    "row that is a list": ([CAT], "expected a JSON object, got list"),
    "row that is nested deeply": ("[" * 200_000, "nested too deeply"),
    "row that is not UTF-8": (b'{"id": "a", "text": "\xff"}', "can't decode byte 0xff"),
}


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="truncate")


def written(path, rows):
    contents = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    path.write_bytes(b"".join(content + b"\n" for content in contents))
    return path


def results(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted((folder / "shards").glob("*.parquet")))


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_a_hostile_row_fails_alone(recipe, tmp_path, is_first):
    """Rows of all kinds in one job: planning reads the types of columns from the first ones."""
    rows = [row for row, _ in ROWS.values()]
    others = [{"id": f"plain {number}", "text": "on the mat"} for number in range(3)]
    source = written(tmp_path / "rows.jsonl", [*rows, *others] if is_first else [*others, *rows])
    result = run(source, tmp_path / "out", recipe, shard_rows=4, allow_duplicate_ids=True)
    assert result.rows == len(rows) + len(others)
    table = results(tmp_path / "out")
    errors = table.column("error").to_pylist()
    of_rows = errors[: len(rows)] if is_first else errors[len(others) :]
    assert errors[len(rows) :] == [None] * 3 if is_first else errors[:3] == [None] * 3
    for (name, (_, expected)), error in zip(ROWS.items(), of_rows, strict=True):
        assert (error is None) == (expected is None), (name, error)
        assert expected is None or expected in error, name
    assert result.failed == sum(error is not None for error in errors)
    assert [vector is None for vector in table.column("vector").to_pylist()] == [it is not None for it in errors]
    assert verify(tmp_path / "out").ok


@pytest.mark.parametrize(
    ("ids", "stored", "failed"),
    [
        ([None, 7], [None, 7], 0),
        ([1, 2**70, -(2**63), True], [1, None, -(2**63), None], 2),
        ([1, "1"], [1, None], 1),
    ],
)
def test_integer_ids_that_cannot_be_stored_fail_their_rows(recipe, tmp_path, ids, stored, failed):
    source = written(tmp_path / "rows.jsonl", [{"id": row_id, "text": "the cat"} for row_id in ids])
    assert run(source, tmp_path / "out", recipe).failed == failed
    assert results(tmp_path / "out").column("id").to_pylist() == stored


def test_files_without_rows_do_not_determine_the_type_of_ids(recipe, tmp_path):
    rows = [{"id": 7, "text": "the cat"}]
    files = [written(tmp_path / "a.jsonl", []), written(tmp_path / "b.jsonl", rows), tmp_path / "c.csv"]
    files[2].write_bytes(b"")
    assert run(files, tmp_path / "out", recipe).rows == 1
    assert results(tmp_path / "out").column("id").type == pa.int64()


def test_an_id_in_two_files_is_a_duplicate(recipe, tmp_path):
    files = [written(tmp_path / name, [CAT]) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(InputError, match=r"the id 'a' occurs twice: in row 0 of a\.jsonl and row 0 of b\.jsonl"):
        run(files, tmp_path / "out", recipe)


def test_ids_and_texts_of_parquet_may_be_dictionaries(recipe, tmp_path):
    columns = {name: pa.array(["x", "y", "z"]).dictionary_encode() for name in ("id", "text")}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    assert run(tmp_path / "rows.parquet", tmp_path / "out", recipe).failed == 0
    assert results(tmp_path / "out").column("id").to_pylist() == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("cut", "message"),
    [(lambda content: content[: len(content) // 2], "Truncated"), (lambda content: content[:-6], "Truncated")],
    ids=["middle", "end"],
)
def test_a_truncated_compressed_file_is_an_error_and_not_its_end(recipe, tmp_path, cut, message):
    rows = b"".join(json.dumps({"id": str(number), "text": "cat"}).encode() + b"\n" for number in range(2000))
    (tmp_path / "rows.jsonl.gz").write_bytes(cut(gzip.compress(rows)))
    with pytest.raises(InputError, match=rf"cannot read .*rows\.jsonl\.gz: {message}"):
        run(tmp_path / "rows.jsonl.gz", tmp_path / "out", recipe)


@pytest.mark.parametrize(("name", "hint"), [("rows.jsonl", ""), ("rows.csv", ": is a quotation mark missing?")])
def test_a_record_without_end_does_not_fill_the_memory(recipe, tmp_path, monkeypatch, name, hint):
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1000)
    rows = (
        b'id,text\n1,"the cat\n' + b"2,mat\n" * 500 if name.endswith("csv") else b'{"id": "a", "text": "' + b"x" * 2000
    )
    (tmp_path / name).write_bytes(rows)
    with pytest.raises(
        InputError, match=rf"{name}: the record at byte \d+ is over 1000 bytes{hint.replace('?', '.')}$"
    ):
        run(tmp_path / name, tmp_path / "out", recipe)
