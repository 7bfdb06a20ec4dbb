"""Progress on stderr: a bar on a terminal, which results and warnings do not disturb, and lines elsewhere."""

import re
import signal
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
from command_kit import Terminal

from millpond.testing import checkpoints
from millpond_command import progress
from millpond_command.progress import Count, Progress, format_clock

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
WORK = """
import logging, sys
from millpond_command.cli import echo_stderr
from millpond_command.progress import Progress
from millpond_command.stderr import logging_to_stderr
shown = {"None": None, "True": True, "False": False}[sys.argv[1]]
work = Progress(shown=shown, total=lambda: 3000)
with logging_to_stderr():
    for number in range(3):
        work.update(1000)
        with work.paused():
            print(f"result {number}")
        echo_stderr(f"warning: text {number} failed")
        logging.getLogger("millpond").warning("text %d is long", number)
    if "interrupt" in sys.argv:
        try:
            raise KeyboardInterrupt
        finally:
            work.close()
    work.finish()
print("end")
"""
LINES = [
    f"{text} {number}{rest}"
    for number in range(3)
    for text, rest in (("result", ""), ("warning: text", " failed"), ("warning: text", " is long"))
]


def test_a_status_has_count_rate_and_times():
    count = Count(unit="texts", total=100_000, done=12_345, note="3 failed")
    assert count.status(10, 100) == "12,345/100,000 texts  1,234 texts/s  3 failed  0:10  1:11 left"
    assert count.line(10) == "12,345 of 100,000 texts (12%), 1,234 texts/s, 3 failed, 1:11 left"
    assert count.summary(10) == "12,345 texts in 0:10 (1,234 texts/s)"


def test_rows_that_were_finished_earlier_do_not_count_for_the_rate():
    count = Count(unit="rows", total=300, done=200, earlier=100)
    assert count.status(10, 80) == "200/300 rows  10 rows/s  0:10  0:10 left"
    assert count.summary(10) == "100 rows in 0:10 (10 rows/s)"


def test_time_left_counts_down_until_the_next_step_is_finished():
    count = Count(unit="texts", total=4096, done=1024, counted_s=10.0)
    assert count.left(10) == "0:30 left"
    assert count.left(19.9) == "0:20 left"  # a rate over the whole time would state 1:00
    assert count.left(60) == "0:00 left"
    assert count.rate(19.9) == count.rate(10) == "102 texts/s"


STEPS = {  # the sizes of steps, and the seconds per item of each
    "steady": ([8] * 40, [1] * 40),
    "long": ([8192] * 6, [0.1] * 6),
    "growing, like the first shards of a job": ([10, 10, 20, 40, *[80] * 6], [6] * 10),
    "a slow start": ([10, 10, 20, 40, *[80] * 6], [12, *[3] * 9]),
    "a slow end": ([80] * 10, [*[1] * 7, 5, 5, 5]),
    "alternating": ([80] * 12, [2, 6] * 6),
    "a short last step": ([80] * 5 + [3], [5] * 6),
}


@pytest.mark.parametrize("are_sizes_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(("sizes", "seconds"), STEPS.values(), ids=STEPS)
def test_the_time_left_never_jumps_by_a_factor_of_two(sizes, seconds, are_sizes_known):
    count, now, shown = Count(unit="rows", total=sum(sizes)), 0.0, []
    for size, upcoming, per_item in zip(sizes, [*sizes[1:], 0], seconds, strict=True):
        ticks = [now + size * per_item * part / 40 for part in range(41)]
        shown += [(tick, count.seconds_left(tick)) for tick in ticks]
        now = ticks[-1]
        count.advance(size, now, upcoming if are_sizes_known else None)
    known = [(tick, left) for tick, left in shown if left is not None]
    assert len(known) == 41 * (len(sizes) - 1)
    for (before, earlier), (after, later) in pairwise(known):
        assert later <= 2 * earlier + 1, f"{earlier} at {before}, then {later}"
        assert later + (after - before) >= earlier / 2 - 1, f"{earlier} at {before}, then {later}"


def test_the_time_left_approaches_the_estimate_of_the_last_step():
    count = Count(unit="rows", total=1000)
    count.advance(10, 100)  # as slow as a first step is
    count.advance(100, 110)
    assert count.left(110) == "2:44:50 left"
    assert count.left(200) == "15:02 left"


def test_progress_measures_the_rate_until_the_last_finished_item(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    work = Progress(shown=True, total=lambda: 10)
    work.update(5)  # at 10 seconds
    work.update(0, "a note")
    work.finish()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert {line.split(", ")[1] for line in lines} == {"0.50 texts/s"}


def test_without_a_total_or_a_result_no_time_is_left():
    assert Count(unit="texts", done=5).status(10, 80) == "5 texts  0.50 texts/s  0:10"
    assert Count(unit="texts", total=5).line(10) == "0 of 5 texts (0%), 0.00 texts/s"
    assert Count(unit="texts", total=0).line(0) == "0 of 0 texts, 0.00 texts/s"


@pytest.mark.parametrize("width", [10, 20, 30, 40, 50, 60, 80])
def test_a_narrow_terminal_shows_the_most_important_parts(width):
    count = Count(unit="texts", total=99_999, done=1_234, note="a note")
    parts = count.status(7, width).split("  ")
    assert parts[0] == "1,234/99,999 texts"
    assert len(parts) == 1 or len("  ".join(parts)) <= width
    assert width < 80 or len(parts) == 5


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"), (360_000, "100:00:00")]
)
def test_durations_look_like_a_clock(seconds, text):
    assert format_clock(seconds) == text


# --- without a terminal -----------------------------------------------------------------------------------------------


def test_a_pipe_shows_nothing_by_default(capsys):
    work = Progress(shown=None, total=lambda: pytest.fail("counts items for nothing"))
    work.update(5)
    work.finish()
    assert capsys.readouterr().err == ""


def test_a_pipe_shows_lines_on_request(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    work = Progress(shown=True, total=lambda: 4)
    work.update(1)
    work.update(3, "none failed")
    work.finish()
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1 of 4 texts (25%), ")
    assert second.startswith("4 of 4 texts (100%), ")
    assert second.endswith(" texts/s, none failed")
    assert last.startswith("4 of 4 texts (100%), ")


def test_an_error_leaves_no_summary(capsys):
    work = Progress(shown=True, total=lambda: 4)
    work.update(1)
    work.close()
    work.finish()
    assert capsys.readouterr().err == ""


# --- on a terminal ----------------------------------------------------------------------------------------------------


def work_on_a_terminal(shown, *arguments, columns=80, code=0, **environment):
    """Run `WORK` on a terminal, and return the terminal."""
    with Terminal(sys.executable, "-c", WORK, shown, *arguments, columns=columns, environment=environment) as terminal:
        assert terminal.wait() == code, terminal.text
        return terminal


def test_a_bar_is_replaced_by_a_summary_and_keeps_other_lines_whole():
    terminal = work_on_a_terminal("True")
    assert "━" in terminal.text
    assert "3,000/3,000 texts" in terminal.text
    assert terminal.screen[:-2] == LINES
    assert re.fullmatch(r"3,000 texts in \d:\d\d \([\d,]+ texts/s\)", terminal.screen[-2])
    assert terminal.screen[-1] == "end"


def test_short_work_shows_no_bar_unless_it_is_requested():
    terminal = work_on_a_terminal("None")
    assert "\x1b" not in terminal.text
    assert terminal.screen == [*LINES, "end"]


def test_an_interrupted_bar_leaves_a_visible_cursor_and_no_summary():
    terminal = work_on_a_terminal("True", "interrupt", code=-signal.SIGINT)
    assert terminal.text.rfind(SHOW_CURSOR) > terminal.text.rfind(HIDE_CURSOR) >= 0
    assert "texts in" not in terminal.text


def test_a_narrow_terminal_shows_no_bar_but_the_count():
    terminal = work_on_a_terminal("True", columns=40)
    assert "━" not in terminal.text
    assert "3,000/3,000 texts" in terminal.text
    assert terminal.screen[:-2] == LINES


def test_no_color_removes_colours_from_the_bar():
    assert COLOUR.search(work_on_a_terminal("True").text)
    terminal = work_on_a_terminal("True", NO_COLOR="1")
    assert "━" in terminal.text
    assert not COLOUR.search(terminal.text)


@pytest.mark.parametrize(("shown", "last"), [("None", []), ("True", ["3,000 of 3,000 texts (100%)"])])
def test_a_dumb_terminal_gets_lines_on_request_and_no_escapes(shown, last):
    terminal = work_on_a_terminal(shown, TERM="dumb")
    assert "\x1b" not in terminal.text
    assert terminal.screen[: len(LINES)] == LINES
    assert [line.partition(",  ")[0][:27] for line in terminal.screen[len(LINES) : -1]] == last


# --- a command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_removes_the_bar_and_reports_what_was_done(tmp_path):
    checkpoints.tiny("BertModel", tmp_path / "model")
    (tmp_path / "notes.txt").write_text("the cat sat on the mat\n" * 300_000, encoding="utf-8")
    command = ["embed", "-m", "model", "-i", "notes.txt", "-o", "notes.npy", "--progress"]
    with Terminal(sys.executable, "-m", "millpond", *command, cwd=tmp_path) as terminal:
        terminal.wait_for("/300,000 texts")
        terminal.type("\x03")
        assert terminal.wait() == 130, terminal.text
    assert terminal.text.rfind(SHOW_CURSOR) > terminal.text.rfind(HIDE_CURSOR) >= 0
    first, second = terminal.screen
    assert re.fullmatch(r"(\^C)?warning: interrupted by Ctrl-C after \d+ texts", first)
    assert second == "warning: notes.npy was not written"
    assert not (tmp_path / "notes.npy").exists()
