"""Inputs: every format is read shard by shard, in any order, to the same rows; damaged rows and files are named."""

import csv
import gzip
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millpond_jobs.inputs import ShardReader
from millpond_jobs.shards import Shard, ShardBudget, cut_into_shards
from millpond_recipes.errors import InputError
from millpond_recipes.rows import Place
from millpond_recipes.sources import arrow, text
from millpond_recipes.sources.files import find_inputs

ROWS = [
    {"id": f"r{number}", "text": f'a "quoted", text\nof two lines {number} ' * (number % 4)} for number in range(200)
]
BUDGET = ShardBudget(tokens=100, rows=16)


def write_csv(path):
    content = io.StringIO()
    writer = csv.DictWriter(content, ["id", "text"])
    writer.writeheader()
    writer.writerows(ROWS)
    return content.getvalue().encode()


def write(path):
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=70)
    elif name.endswith((".arrow", ".feather")):
        table = pa.Table.from_pylist(ROWS)
        new = pa.ipc.new_stream if name.endswith(".arrow") else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=64)
    else:
        lines = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
        content = write_csv(path) if ".csv" in name else lines
        if name.endswith(".zst"):
            with pa.CompressedOutputStream(str(path), "zstd") as stream:
                stream.write(content)
        else:
            path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def ids_of(name):
    return [row_id for rows in name.open(("id",)).blocks() for row_id in rows.columns["id"]]


def shards_of(file):
    return list(cut_into_shards(0, file.places(), BUDGET))


@pytest.mark.parametrize(
    "name",
    ["a.parquet", "a.arrow", "a.feather", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.ndjson"],
)
@pytest.mark.parametrize("order", ["forward", "random", "every second, then the others"])
def test_each_format_is_read_to_the_same_rows(tmp_path, monkeypatch, name, order):
    monkeypatch.setattr(text, "BLOCK_BYTES", 100)
    monkeypatch.setattr(arrow, "BATCH_ROWS", 7)
    (source,) = find_inputs([write(tmp_path / name)])
    file = source.open(("id", "text"))
    shards = shards_of(file)
    assert [shard.start for shard in shards] == [sum(it.rows for it in shards[:n]) for n in range(len(shards))]
    assert sum(shard.rows for shard in shards) == len(ROWS)
    assert ids_of(source) == [row["id"] for row in ROWS]
    orders = {"forward": shards, "random": random.Random(0).sample(shards, len(shards))}
    order_of_reading = orders.get(order, shards[::2] + shards[1::2])
    reader, tables = ShardReader(source, ("id", "text")), {}
    for shard in order_of_reading:
        rows = reader.read(shard)
        assert not rows.errors
        tables[shard] = pa.table(rows.columns)
    reader.close()
    assert pa.concat_tables(tables[shard] for shard in shards).to_pylist() == ROWS


def test_shards_end_at_the_budget_and_the_first_are_smaller():
    records = [Place(0, 0, 40)] * 1000
    shards = list(cut_into_shards(3, records, ShardBudget(tokens=1100, rows=80)))
    assert [shard.rows for shard in shards[:6]] == [10, 10, 20, 40, 80, 80]
    assert shards[5] == Shard(3, 5, 160, 80)
    assert shards[5].name == "00003-00005"
    large = [Place(0, 0, 10_000_000), Place(1, 0, 4)]
    assert [shard.rows for shard in cut_into_shards(0, large, ShardBudget(tokens=1000))] == [1, 1]


def test_a_damaged_row_becomes_an_error_with_its_number(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        '{"id": 1, "text": "a"}',
        "{broken",
        '["list"]',
        '{"id": 4}',
        '{"id": 5, "text": 7}',
        '{"id": "x", "text": "b"}',
    ]
    path.write_text("\n".join(lines) + "\n")
    rows = all_rows(find_inputs([path])[0], ("id", "text"))
    assert rows.columns["text"] == ["a", None, None, None, None, None]
    assert rows.columns["id"] == [1, None, None, 4, 5, None]
    assert set(rows.errors) == {1, 2, 3, 4, 5}
    assert rows.errors[1].startswith("the row cannot be read: ")
    assert "expected a JSON object, got list" in rows.errors[2]
    assert "it has no 'text'" in rows.errors[3]
    assert "'text' is a number; expected text" in rows.errors[4]
    assert "'id' is str; expected an integer" in rows.errors[5]


def test_blank_lines_and_a_byte_order_mark_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \n{"text": "b"}')
    assert all_rows(find_inputs([path])[0], ("text",)).columns["text"] == ["a", "b"]


def test_a_quotation_mark_within_a_cell_does_not_join_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,a 5" disk\n2,a "large" one\n3,"two\nlines"\n')
    rows = all_rows(find_inputs([path])[0], ("id", "text"))
    assert rows.columns == {"id": ["1", "2", "3"], "text": ['a 5" disk', 'a "large" one', "two\nlines"]}


def test_a_damaged_record_of_csv_does_not_affect_others(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\n"a" b\nfine\n\xff\nx,y\n"never closed\n')
    rows = all_rows(find_inputs([path])[0], ("text",))
    assert rows.columns["text"] == [None, "fine", None, None, None]
    assert list(rows.errors) == [0, 2, 3, 4]


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match=r"cannot read .*a\.parquet"):
        find_inputs([path])[0].open(("text",)).schema()


@pytest.mark.slow
def test_a_datasets_folder_is_read(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(str(tmp_path / "saved"), num_shards=3)
    files = find_inputs([tmp_path / "saved"])
    assert len(files) == 3
    read = [pa.table(all_rows(file, ("id", "text")).columns) for file in files]
    assert pa.concat_tables(read).to_pylist() == ROWS


def all_rows(name, columns):
    (shard,) = cut_into_shards(0, name.open(columns).places(), ShardBudget(10**9, 10**6))
    return ShardReader(name, columns).read(shard)


@pytest.mark.slow
def test_a_datasets_view_is_read_in_its_order_and_a_split_must_be_named(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.select([5, 3, 1]).save_to_disk(str(tmp_path / "view"))
    (view,) = find_inputs([tmp_path / "view"])
    assert ids_of(view) == ["r5", "r3", "r1"]
    datasets.DatasetDict(train=dataset, test=dataset).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(InputError, match=r"several splits; name one: .*train"):
        find_inputs([tmp_path / "splits"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jsonl", "no file matches"),
        ("notes.txt", "Unknown format of the input"),
        ("empty", "contains no input file"),
    ],
)
def test_a_source_without_inputs_is_refused(tmp_path, source, message):
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_inputs([tmp_path / source])


def test_patterns_are_sorted_and_files_named_once(tmp_path):
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("{}")
    names = find_inputs([tmp_path / "*.jsonl", tmp_path / "a.jsonl"])
    assert [it.path.name for it in names] == ["a.jsonl", "b.jsonl"]
