"""Inputs of commands: files named as arguments, compressed files, TSV, nested fields, pairs, devices as outputs."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond.testing import checkpoints
from millpond_cli.io import formats
from millpond_cli.io.rows import Keys, count_rows, open_rows
from millpond_cli.io.source import choose_source, refuse_files
from millpond_command import cli, tables
from millpond_command.cli import CommandError
from millpond_command.progress import Progress
from millpond_models.testing.dual_encoders import tiny_dual_encoder


def run(*arguments, stdin=""):
    return CliRunner().invoke(cli.app, list(arguments), input=stdin)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model"))


def texts_in(path, **keys):
    source = choose_source((), str(path), None)
    return [row.error or row.text for row in open_rows(source, Keys(**keys))]


# --- arguments that are files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["embed", "{}"], "-i"),
        (["classify", "-m", "m", "{}"], "-i"),
        (["encode", "--task", "embed", "{}"], "-i"),
        (["rerank", "a query", "{}"], "-i"),
        (["score", "a query", "{}"], "--documents"),
        (["score", "{}", "a document"], "--queries"),
    ],
)
def test_an_argument_that_is_a_file_is_refused_with_the_option_that_reads_it(tmp_path, command, option):
    path = written(tmp_path / "texts.csv", "text\na\n")
    done = run(*(part.format(path) for part in command))
    assert done.exit_code == 2
    assert f"{path!r} is a file, but arguments are texts" in done.stderr
    assert f"`{option} {path}` reads the file" in done.stderr


def test_a_text_that_looks_like_a_file_name_causes_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "texts.txt", "a cat\n")
    refuse_files(["texts.tx", "texts", "see texts.tx", "about 3.14", "https://example.com/texts.tx"])
    hint = "`-i texts.txt` reads the file"
    expected = f"warning: 'texts.tx' is used as text, not as a file name, but the file 'texts.txt' exists; {hint}\n"
    assert capsys.readouterr().err == expected


def test_a_query_that_is_a_file_is_refused(tmp_path):
    path = written(tmp_path / "query.txt", "a query\n")
    done = run("rerank", path, "a document")
    assert done.exit_code == 2
    assert "pass the text itself" in done.stderr


def test_texts_that_cannot_be_paths_are_texts(tiny):
    assert run("embed", "-m", tiny, "word " * 1000, "--truncate").exit_code == 0


# --- formats ----------------------------------------------------------------------------------------------------------


def test_tsv_has_columns_between_tabs(tmp_path):
    path = written(tmp_path / "rows.tsv", 'text\tid\nthe "cat", sleeping\t7\n'.replace('"', ""))
    assert texts_in(path) == ["the cat, sleeping"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt.gz", "one\ntwo\n"), ("a.jsonl.gz", '{"text": "one"}\n"two"\n'), ("a.tsv.gz", "text\tn\none\t1\ntwo\t2\n")],
)
def test_compressed_files_are_read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()))
    assert texts_in(path) == ["one", "two"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"plain" + data])
def test_a_damaged_compressed_file_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "rows.txt.gz"
    path.write_bytes(damage(gzip.compress(b"one\n" * 5000)))
    with pytest.raises(cli.CommandError, match=r"rows\.txt\.gz: damaged gzip file"):
        texts_in(path)


def test_nested_fields_are_named_with_dots(tmp_path):
    lines = [{"meta": {"body": "inner"}}, {"meta.body": "outer", "meta": {"body": "inner"}}, {"meta": "flat"}]
    path = written(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, lines)))
    inner, outer, missing = texts_in(path, text="meta.body")
    assert (inner, outer) == ("inner", "outer")
    assert missing == "no field 'meta.body'. Available: meta. Name the field of the text with --text-key"


def test_text_column_is_another_name_of_text_key(tmp_path, tiny):
    path = written(tmp_path / "rows.csv", "body\na cat\n")
    done = run("embed", "-m", tiny, "-i", path, "--text-column", "body", "--with-text")
    assert json.loads(done.stdout)["text"] == "a cat"


def test_a_name_without_a_known_format_lists_the_formats(tmp_path):
    done = run("embed", "-i", written(tmp_path / "rows.xls", "x"))
    assert done.exit_code == 2
    suffixes = ".txt, .jsonl, .ndjson, .csv, .tsv, .parquet, .pq, .arrow, .feather"
    assert f"Known suffixes: {suffixes}; text formats also with .gz" in done.stderr


# --- progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.txt", b"one\n\nthree", 3),
        ("a.jsonl", b'"one"\n\n{"text": "two"}\n', 2),
        ("a.csv", b'text,id\n"one\nline",1\n\ntwo,2\n', 2),
        ("a.tsv", b"text\tid\none\t1\n", 1),
        ("empty.csv", b"", 0),
        ("large.csv", b"text\n" + b"x" * 200_000 + b"\n", 1),
    ],
)
def test_the_rows_of_a_file_are_counted_for_the_progress_bar(tmp_path, name, content, rows):
    path = tmp_path / name
    path.write_bytes(content)
    assert count_rows(choose_source((), str(path), None)) == rows


def test_rows_of_stdin_and_of_damaged_files_are_not_counted(tmp_path):
    assert count_rows(choose_source((), "-", None)) is None
    damaged = tmp_path / "a.txt.gz"
    damaged.write_bytes(b"plain")
    assert count_rows(choose_source((), str(damaged), None)) is None


def test_rows_are_counted_only_for_a_bar_that_is_shown():
    def count():
        raise AssertionError

    Progress(shown=False, total=count).close()
    with pytest.raises(AssertionError):
        Progress(shown=True, total=count)


# --- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("/dev/stdout", "jsonl"),
        pytest.param("/dev/fd/1", "jsonl", marks=pytest.mark.slow),
        pytest.param("/dev/stdout", "npy", marks=pytest.mark.slow),
    ],
)
def test_stdout_may_be_named_as_a_device(tmp_path, tiny, output, kind):
    command = [sys.executable, "-m", "millpond", "embed", "-m", tiny, "a cat", "-f", kind, "-o", output]
    done = subprocess.run(command, capture_output=True, check=True)
    if kind == "jsonl":
        assert len(json.loads(done.stdout)["embedding"]) == 32
    else:
        (tmp_path / "v.npy").write_bytes(done.stdout)
        assert np.load(tmp_path / "v.npy").shape == (1, 32)


@pytest.mark.slow
def test_a_pipe_among_the_descriptors_is_written_to(tiny):
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "millpond", "embed", "-m", tiny, "a cat", "-o", f"/dev/fd/{writing}"]
    subprocess.run(command, check=True, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as file:
        assert len(json.loads(file.read())["embedding"]) == 32


# --- terminals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_terminal(monkeypatch):
    monkeypatch.setattr(formats, "is_terminal", lambda: True)
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.parametrize("command", [["embed"], ["encode", "--task", "embed"]])
def test_a_terminal_shows_the_first_numbers_of_each_vector(on_terminal, tiny, command):
    done = run(*command, "-m", tiny, "a cat", "a dog that runs for a very long time across the field")
    vector = json.loads(run(*command, "-m", tiny, "a cat", "-f", "jsonl").stdout)
    numbers = vector.get("embedding") or vector["data"]
    first, second = done.stdout.splitlines()
    assert first == f"1  [{', '.join(f'{number:.4f}' for number in numbers[:4])}, ...] 32  a cat"
    assert len(second) == 60
    assert second.endswith("…")


def test_a_terminal_shows_the_shape_of_token_vectors(on_terminal, tiny):
    line = run("encode", "--task", "token_embed", "-m", tiny, "a cat").stdout
    assert " x 32  a cat" in line


def test_a_terminal_shows_the_error_of_a_text(on_terminal, tiny):
    done = run("embed", "-m", tiny, "--on-error", "skip", "a cat", "word " * 400)
    assert done.exit_code == 3
    assert done.stdout.splitlines()[1].startswith("2  error: ")


def test_a_missing_package_is_reported_without_a_hint_to_skip_rows(tmp_path, tiny, monkeypatch):
    clip = str(tiny_dual_encoder("CLIPModel", tmp_path / "clip"))
    image = tmp_path / "a.png"
    image.write_bytes(b"not read")
    monkeypatch.setitem(sys.modules, "PIL", None)
    done = run("embed", "-m", clip, "--image", str(image), "--on-error", "skip")
    assert done.exit_code == 1
    assert done.stderr.strip() == "error: images need Pillow: pip install pillow"


@pytest.mark.parametrize(("text", "is_refused"), [("./docs", True), ("docs/", True), ("docs", False), ("/", False)])
def test_the_path_of_a_folder_is_no_text(tmp_path, monkeypatch, text, is_refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    if not is_refused:
        refuse_files([text])
        return
    with pytest.raises(CommandError, match="is a folder, but arguments are texts"):
        refuse_files([text])


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("notes.tx", "notes.tx: No such file or directory", "did you mean 'notes.txt'?"),
        ("nothing.csv", "nothing.csv: No such file or directory", ""),
        ("docs", "docs: Is a directory", "`millpond search QUERY FOLDER` reads folders"),
    ],
)
def test_a_missing_file_gets_a_suggestion(tmp_path, monkeypatch, name, message, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CommandError) as caught, choose_source([], name, None).open():
        pass
    assert str(caught.value) == message
    assert hint in caught.value.hint
    assert bool(hint) == bool(caught.value.hint)
