"""Sources of texts: rows in order, each with its location; an invalid row does not affect the others."""

import io
import time

import pytest

from millpond_cli.choices import spelled_option
from millpond_cli.io.rows import Keys, open_rows, read_rows
from millpond_cli.io.source import Source, choose_source
from millpond_command.cli import CommandError


def rows(kind, content, **keys):
    source = Source("docs", kind, lambda: None)
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    return list(read_rows(source, stream, Keys(**keys)))


def summary(parsed):
    return [
        (row.index, row.location.partition(", ")[2], row.text, row.id, row.error.partition(":")[0]) for row in parsed
    ]


def test_a_line_is_a_text_and_an_empty_line_an_empty_text():
    parsed = rows("txt", "\ufeffone\r\n\n two \u2028 lines\u0085 \nlast".encode())
    assert summary(parsed) == [
        (0, "line 1", "one", None, ""),
        (1, "line 2", "", None, ""),
        (2, "line 3", " two \u2028 lines\u0085 ", None, ""),
        (3, "line 4", "last", None, ""),
    ]
    assert rows("txt", b"") == []


def test_invalid_utf8_is_reported_with_its_line_and_affects_no_other_row():
    parsed = rows("txt", b"good\nna\xefve\nfine\n")
    assert [row.text for row in parsed] == ["good", "", "fine"]
    assert parsed[1].location == "docs, line 2"
    assert parsed[1].error == "the text is not UTF-8: invalid byte 0xef after 2 characters"


def test_json_lines_are_objects_or_strings_and_blank_lines_are_skipped():
    content = b'{"text": "one", "id": 7, "more": []}\n\n  \n"two"\n{"id": "x", "text": "three"}'
    assert summary(rows("jsonl", content)) == [
        (0, "line 1", "one", 7, ""),
        (1, "line 4", "two", None, ""),
        (2, "line 5", "three", "x", ""),
    ]


def test_keys_choose_the_fields():
    content = b'{"body": "one", "doc": "a"}\n{"body": "two"}\n'
    parsed = rows("jsonl", content, text="body", id="doc", needs_id=True)
    assert (parsed[0].text, parsed[0].id) == ("one", "a")
    assert parsed[1].error == "no field 'doc'. Available: body. Name the field of the id with --id-key"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{", "not JSON: "),
        (b"[1]", "expected a JSON object or string; got list"),
        (b"12", "expected a JSON object or string; got int"),
        (
            b'{"txt": "a", "n": 1}',
            "no field 'text'. Available: txt, n. Name the field of the text with --text-key",
        ),
        (b'{"text": 3}', "field 'text': expected a string, got int"),
        (b'{"text": null}', "the field 'text' is null; expected a string"),
        (b'{"text": "a", "id": {}}', "field 'id': expected a string or a finite number, got dict"),
        (b'{"text": "a", "id": 1e999}', "field 'id': expected a string or a finite number, got inf"),
        (b'{"text": "a", "id": NaN}', "field 'id': expected a string or a finite number, got nan"),
        (b'{"text": "\xff"}', "the text is not UTF-8"),
        (b"[" * 100_000, "not JSON: "),
    ],
)
def test_an_invalid_json_line_is_reported_and_does_not_affect_others(line, error):
    parsed = rows("jsonl", b'"before"\n' + line + b'\n"behind"\n')
    assert [row.text for row in parsed] == ["before", "", "behind"]
    assert parsed[1].location == "docs, line 2"
    assert parsed[1].error.startswith(error)


def test_an_escaped_surrogate_is_left_to_the_model_to_refuse():
    (row,) = rows("jsonl", b'"a\\ud800"')
    assert (row.text, row.error) == ("a\ud800", "")


def test_csv_has_a_header_and_fields_with_line_breaks():
    content = b'id,text,n\n1,"one, two",x\n\n2,"over\ntwo ""lines""",y\n3,three,z\n'
    assert summary(rows("csv", content)) == [
        (0, "line 2", "one, two", "1", ""),
        (1, "line 4", 'over\ntwo "lines"', "2", ""),
        (2, "line 6", "three", "3", ""),
    ]
    assert rows("csv", b"") == []
    assert rows("csv", b"text\n") == []


def test_a_record_that_is_too_short_does_not_affect_others():
    parsed = rows("csv", b"id,text\n1,one\n2\n3,\xff\n4,four\n")
    assert [row.text for row in parsed] == ["one", "", "", "four"]
    assert [row.id for row in parsed] == ["1", "2", "3", "4"]
    assert parsed[1].error == "the record has 1 fields, but the text requires field 2"
    assert parsed[2].error.startswith("the text is not UTF-8")


def test_a_field_may_be_larger_than_the_limit_of_the_csv_module():
    (row,) = rows("csv", b"text\n" + b"x" * 200_000 + b"\n")
    assert len(row.text) == 200_000


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        (b"id,body\n1,a\n", {}, "docs has no column 'text'. Available, from its first line: id, body"),
        (b"text\na\n", {"id": "doc", "needs_id": True}, "docs has no column 'doc'"),
        (b"text,text\na,b\n", {}, "docs has 2 columns 'text'"),
        (b'text\n"never closed\n', {}, "docs, line 2: not CSV: unexpected end of data"),
    ],
)
def test_csv_without_structure_is_an_error(content, keys, message):
    with pytest.raises(CommandError, match=message):
        rows("csv", content, **keys)


def test_many_columns_are_read_in_linear_time():
    names = [f"column {number}" for number in range(50_000)]
    start = time.process_time()
    (row,) = rows("csv", f"{','.join(names)},text\n{','.join(names)},hello\n".encode())
    assert (row.text, time.process_time() - start < 5) == ("hello", True)
    with pytest.raises(CommandError, match=r"column 49 and 49950 more$"):
        rows("csv", ",".join(names).encode())


def test_rows_are_not_read_ahead():
    file = io.BytesIO(b"one\ntwo\n")
    parsed = read_rows(Source("docs", "txt", lambda: None), file, Keys())
    assert [(next(parsed).text, file.tell()) for _ in range(2)] == [("one", 4), ("two", 8)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((["a", "b"], None, None), ("argument", "arguments")),
        ((["-"], None, None), ("stdin", "txt")),
        ((["-"], None, "csv"), ("stdin", "csv")),
        (([], None, None), ("stdin", "txt")),
        (([], "-", "jsonl"), ("stdin", "jsonl")),
        (([], "a.txt", None), ("a.txt", "txt")),
        (([], "A.JSONL", None), ("A.JSONL", "jsonl")),
        (([], "a.ndjson", None), ("a.ndjson", "jsonl")),
        (([], "a.csv", None), ("a.csv", "csv")),
        (([], "a.dat", "txt"), ("a.dat", "txt")),
        ((["-", "b"], None, None), ("argument", "arguments")),
    ],
)
def test_arguments_select_the_input_file_and_its_format(arguments, expected):
    source = choose_source(*arguments)
    assert (source.name, source.format) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], "b.txt", None), "both arguments and read from --input"),
        (([], "a.md", None), "does not specify an input format"),
        (([], "a.txt", "xml"), "expected one of txt, jsonl, csv"),
        ((["a"], None, "csv"), "but the texts are arguments"),
    ],
)
def test_invalid_input_arguments_are_usage_errors(arguments, message):
    with pytest.raises(CommandError, match=message) as caught:
        choose_source(*arguments)
    assert caught.value.exit_code == 2


def test_a_terminal_is_not_waited_for(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(CommandError, match="there is no input") as caught:
        choose_source([], None, None)
    assert caught.value.exit_code == 2
    assert choose_source(["-"], None, None).name == "stdin"


@pytest.mark.parametrize(
    ("written", "names_column", "expected"),
    [
        ((), False, "--text-key"),
        ((), True, "--text-column"),
        (("--text-key", "body"), True, "--text-key"),
        (("--text-column=body",), False, "--text-column"),
    ],
)
def test_errors_name_an_option_as_the_user_spelled_it(monkeypatch, written, names_column, expected):
    monkeypatch.setattr("sys.argv", ["millpond", "embed", *written])
    assert spelled_option("--text-key", names_column=names_column) == expected


def test_a_missing_column_is_named_with_the_option_for_columns(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("body\na cat\n", encoding="utf-8")
    with pytest.raises(CommandError) as caught:
        next(open_rows(choose_source((), str(path), None), Keys()))
    assert caught.value.hint == "name the column with --text-column"
