"""Tables: aligned by the width of characters, cut or wrapped on a terminal alone, without markup and colours."""

import pytest

from millpond_command import tables


@pytest.fixture
def terminal(monkeypatch):
    """Let stdout be a terminal of some columns."""

    def terminal(columns):
        monkeypatch.setattr(tables, "is_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return terminal


def test_tables_align_wide_characters_and_fit_the_terminal(monkeypatch):
    rows = [["猫", "one"], ["cat", "two\x1b\n"]]
    assert tables.table(rows) == "猫   one\ncat  two\\x1b"
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "9")
    assert tables.table([["1", "猫が寝ている"]]) == "1  猫が …"


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_a_very_narrow_terminal_shows_all_columns(terminal, columns):
    terminal(columns)
    assert tables.table([["0.9855", "a/b"], ["0.2", "a long cell"]]) == "0.9855  a/b\n0.2     a lon…"
    assert tables.one_line("a long line") == ("a lon…" if columns < 6 else "a long l…")


def test_long_cells_continue_below_their_beginning_on_a_terminal(terminal):
    terminal(20)
    rows = [["note", "texts are cut to 128 tokens"], ["", "end"]]
    assert tables.table(rows, wraps=True) == "note  texts are cut\n      to 128 tokens\n      end"


def test_lines_for_a_program_are_whole_and_plain(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = "[bold]not markup[/bold] :warning: " + "word " * 99 + "end"
    for wraps in (False, True):
        assert tables.table([["1", text], ["20", ""]], right=(0,), wraps=wraps) == f" 1  {text}\n20"
    assert tables.one_line(text) == text
