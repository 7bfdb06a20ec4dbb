"""Passages: rows of files, and paragraphs of text and Markdown files with the numbers of their lines."""

import pytest

from millpond_cli.search.passages import MAX_PASSAGE_CHARS, open_corpus, split_passages
from millpond_command.cli import CommandError

MARKDOWN = "# Tea\n\nTea grows on hills.\nIt is dried.\n\nIt keeps for a year.\n\n## Tyres\n\nThe tyre is flat.\n"


def corpus_of(path, **options):
    return open_corpus(str(path), **{"input_format": None, "text_key": None, "id_key": None, **options})


def passages_of(path, **options):
    return [(row.location, row.text) for row in corpus_of(path, **options).rows()]


def test_headings_begin_a_passage_and_short_paragraphs_are_joined():
    assert list(split_passages(MARKDOWN)) == [
        (1, "# Tea\n\nTea grows on hills.\nIt is dried.\n\nIt keeps for a year."),
        (8, "## Tyres\n\nThe tyre is flat."),
    ]


@pytest.mark.parametrize(
    "text",
    ["word " * 1000, "x" * 5000, "\n".join(["a line of text"] * 300), "\n\n".join(["short"] * 500), "", "\n \n"],
    ids=["words", "one word", "lines", "paragraphs", "empty", "blank"],
)
def test_passages_have_a_maximum_size_and_lose_no_word(text):
    passages = [passage for _, passage in split_passages(text)]
    assert all(0 < len(passage) <= MAX_PASSAGE_CHARS for passage in passages)
    assert "".join("".join(passages).split()) == "".join(text.split())


def test_lines_of_passages_point_into_the_file():
    text = "\n\n\n".join(f"paragraph {n} {'word ' * 60}" for n in range(30))
    lines = text.splitlines()
    for line, passage in split_passages(text):
        assert lines[line - 1].split()[:2] == passage.split()[:2]


def test_a_folder_has_its_text_files_without_hidden_ones(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".millpond").mkdir()
    (tmp_path / "sub/b.md").write_text("B", encoding="utf-8")
    (tmp_path / "a.TXT").write_text("A", encoding="utf-8")
    for hidden in (".c.md", ".millpond/d.md", "e.csv"):
        (tmp_path / hidden).write_text("hidden", encoding="utf-8")
    assert passages_of(tmp_path) == [(f"{tmp_path}/a.TXT, line 1", "A"), (f"{tmp_path}/sub/b.md, line 1", "B")]


def test_bytes_that_are_not_utf_8_do_not_stop_a_folder(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    assert passages_of(tmp_path) == [(f"{tmp_path}/a.txt, line 1", "caf\ufffd")]


def test_a_text_file_has_one_passage_per_line_and_a_markdown_file_paragraphs(tmp_path):
    for name in ("notes.txt", "notes.md"):
        (tmp_path / name).write_text(MARKDOWN, encoding="utf-8")
    assert len(passages_of(tmp_path / "notes.txt")) == len(MARKDOWN.splitlines())
    assert len(passages_of(tmp_path / "notes.md")) == 2
    assert len(passages_of(tmp_path / "notes.md", input_format="txt")) == len(MARKDOWN.splitlines())


def test_sources_that_cannot_be_searched_are_refused(tmp_path):
    with pytest.raises(CommandError, match="no such file or folder"):
        corpus_of(tmp_path / "nothing.txt")
    with pytest.raises(CommandError, match="--input-format, --text-key and --id-key"):
        corpus_of(tmp_path, text_key="body")
