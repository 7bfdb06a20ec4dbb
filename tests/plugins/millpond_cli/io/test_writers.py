"""Writers: every format can be read back without changes, and failed rows keep their indices."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from millpond_cli.io.output import open_output, refuse_input
from millpond_cli.io.results import Layout, Result
from millpond_cli.io.rows import Row
from millpond_cli.io.serializers import format_numbers
from millpond_cli.io.writers import npy_header, writer_of
from millpond_command.cli import CommandError

VECTORS = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)


class Pipe(io.RawIOBase):
    """A stream that can be written, but neither read nor rewound."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data)
        return len(data)


def written(kind, results, *, file=None, **layout):
    file = io.BytesIO() if file is None else file
    writer = writer_of(kind)(file, Layout(**layout))
    for result in results:  # in pieces, as the command does
        writer.write([result])
    writer.finish()
    writer.release()
    return file.getvalue() if isinstance(file, io.BytesIO) else file.content


def good(index, vector, **row):
    return Result(
        row=Row(index, f"line {index + 1}", row.pop("text", f"text {index}"), **row), value=vector, num_tokens=3
    )


def bad(index, **row):
    return Result(row=Row(index, f"line {index + 1}", "", **row), error="it failed")


NUMBERS = [bad(0), good(1, VECTORS[0]), bad(2), good(3, VECTORS[1]), bad(4)]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_read_back_as_the_same_float32_and_are_short():
    bits = np.random.default_rng(1).integers(0, 2**32, 100_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    texts = format_numbers(values)
    assert np.array_equal(np.array(texts, dtype=np.float64).astype(np.float32), values)
    assert json.loads(f"[{', '.join(texts)}]") == [float(text) for text in texts]
    assert max(map(len, texts)) <= len("-1.23456789e-38")


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (-0.5, "-0.5"), (0.0, "0"), (1 / 3, "0.33333334"), (1e-10, "1e-10")]
)
def test_simple_numbers_look_simple(value, text):
    assert format_numbers(np.array([value], dtype=np.float32)) == [text]


# --- formats ----------------------------------------------------------------------------------------------------------


def test_json_lines():
    results = [
        good(0, VECTORS[0]),
        good(1, VECTORS[1], id="é\ud800"),
        bad(2, id=9),
        Result(row=Row(3, "line 4", "long"), value=VECTORS[2], num_tokens=4, num_dropped_tokens=5),
    ]
    lines = [json.loads(line) for line in written("jsonl", results).decode().splitlines()]
    vectors = [np.array(line.pop("embedding"), dtype=np.float32) for line in lines if "embedding" in line]
    assert np.array_equal(vectors, VECTORS[:3])
    assert lines == [
        {"index": 0, "num_tokens": 3},
        {"index": 1, "id": "é\ud800", "num_tokens": 3},
        {"index": 2, "id": 9, "error": "it failed"},
        {"index": 3, "num_tokens": 4, "num_dropped_tokens": 5},
    ]


def test_texts_are_written_on_request():
    lines = written("jsonl", [good(0, VECTORS[0], text='a "b"\u2028\n'), bad(1)], with_text=True).decode().split("\n")
    assert json.loads(lines[0])["text"] == 'a "b"\u2028\n'
    assert "text" not in json.loads(lines[1])


def test_vectors_of_tokens_are_lists_of_lists():
    (line,) = written("jsonl", [good(0, VECTORS)]).decode().splitlines()
    assert np.array_equal(np.array(json.loads(line)["embedding"], dtype=np.float32), VECTORS)


@pytest.mark.parametrize("results", [[], NUMBERS[1:2], NUMBERS])
def test_json_is_a_list_of_the_objects_of_json_lines(results):
    lines = written("jsonl", results).decode().splitlines()
    assert json.loads(written("json", results)) == [json.loads(line) for line in lines]


def test_csv_has_a_column_for_each_number():
    content = written("csv", NUMBERS, with_id=True, with_text=True, with_error=True).decode()
    header, *records = csv.reader(io.StringIO(content))
    assert header == ["index", "id", "text", "num_tokens", "error", *(f"e{n}" for n in range(7))]
    assert records[1][:5] == ["1", "", "text 1", "3", ""]
    assert np.array_equal(np.array(records[1][5:], dtype=np.float32), VECTORS[0])
    assert records[0] == ["0", "", "", "", "it failed", *[""] * 7]
    assert [record[0] for record in records] == ["0", "1", "2", "3", "4"]


def test_csv_and_parquet_have_the_number_of_dropped_tokens():
    results = [replace(good(0, VECTORS[0][:1]), num_dropped_tokens=5), good(1, VECTORS[1][:1]), bad(2)]
    content = written("csv", results, with_dropped=True, with_error=True).decode()
    header, *records = csv.reader(io.StringIO(content))
    assert header == ["index", "num_tokens", "num_dropped_tokens", "truncated", "error", "e0"]
    assert [record[2:4] for record in records] == [["5", "true"], ["0", "false"], ["", ""]]
    table = pytest.importorskip("pyarrow.parquet").read_table(
        io.BytesIO(written("parquet", results, with_dropped=True))
    )
    assert table["num_dropped_tokens"].to_pylist() == [5, 0, None]
    assert table["truncated"].to_pylist() == [True, False, None]


def test_a_missing_text_is_null_in_parquet_and_an_empty_one_is_not():
    missing = Result(row=Row(0, "row 0", "", error="null"), error="null")
    content = written("parquet", [missing, good(1, VECTORS[0], text="")], with_text=True)
    table = pytest.importorskip("pyarrow.parquet").read_table(io.BytesIO(content))
    assert table["text"].to_pylist() == [None, ""]


def test_csv_without_any_vector_has_its_header():
    assert written("csv", [], dimensions=2) == b"index,num_tokens,e0,e1\n"
    assert written("csv", [bad(0)], dimensions=1, with_error=True) == b"index,num_tokens,error,e0\n0,,it failed,\n"


@pytest.mark.parametrize("make", [io.BytesIO, Pipe], ids=["file", "pipe"])
def test_npy_is_one_array_in_which_failures_are_nan(make):
    array = np.load(io.BytesIO(written("npy", NUMBERS, file=make())))
    assert (array.dtype, array.shape) == (np.float32, (5, 7))
    assert np.array_equal(array[[1, 3]], VECTORS[:2])
    assert np.isnan(array[[0, 2, 4]]).all()


@pytest.mark.parametrize(("results", "shape"), [([], (0, 4)), ([bad(0), bad(1)], (2, 4))])
def test_npy_without_any_vector_has_the_dimensions_of_the_model(results, shape):
    assert np.load(io.BytesIO(written("npy", results, dimensions=4))).shape == shape


@pytest.mark.parametrize("shape", [(0, 0), (10**12, 8192)])
def test_the_header_has_the_same_size_for_all_shapes(shape):
    header = npy_header(shape)
    assert len(header) == 128
    file = io.BytesIO(header)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype("<f4"))


@pytest.mark.parametrize("make", [io.BytesIO, Pipe], ids=["file", "pipe"])
def test_npz_contains_token_vectors_and_their_offsets(make):
    results = [good(0, VECTORS[:2]), bad(1), good(2, VECTORS[2:])]
    content = np.load(io.BytesIO(written("npz", results, file=make())))
    assert content["offsets"].tolist() == [0, 2, 2, 5]
    assert np.array_equal(content["embeddings"], VECTORS)


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"before")
    path.chmod(0o640)
    with open_output(str(path)) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"before")
    stop = KeyboardInterrupt()
    output = open_output(str(path))
    output.__enter__().write(b"half")
    assert output.__exit__(KeyboardInterrupt, stop, None) is not True
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with open_output(str(link)) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_device_is_written_to_and_not_replaced():
    with open_output("/dev/null") as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()


def test_an_output_that_is_also_an_input_is_refused(tmp_path):
    path, other, link, hard = (tmp_path / name for name in ("texts.txt", "other.txt", "link", "hard"))
    path.write_bytes(b"a text")
    other.write_bytes(b"a text")
    link.symlink_to(path)
    hard.hardlink_to(path)
    for output, source in [(path, path), (link, path), (path, link), (hard, path)]:
        with pytest.raises(CommandError, match=f"{output} is also the input"):
            refuse_input(str(output), [other, source])
    refuse_input(str(path), [other, tmp_path / "missing"])
    refuse_input(str(tmp_path / "missing"), [path])
    refuse_input("/dev/null", [Path("/dev/null")])


def test_a_descriptor_that_is_also_the_output_is_refused(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"a text")
    with path.open("rb") as file, pytest.raises(CommandError, match="is also the input"):
        refuse_input(str(path), [file.fileno()])


def test_a_link_to_itself_is_no_output(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    if sys.version_info < (3, 13):  # later versions replace the link
        with pytest.raises(CommandError, match="it is a link to itself"), open_output(str(link)):
            pytest.fail("it should not come this far")
    assert link.is_symlink()


@pytest.mark.parametrize(("name", "message"), [("", "is a folder"), ("no/such/out", "No such file or directory")])
def test_an_unwritable_output_is_reported_before_anything_is_computed(tmp_path, name, message):
    with pytest.raises(CommandError, match=message), open_output(str(tmp_path / name)):
        pytest.fail("it should not come this far")
