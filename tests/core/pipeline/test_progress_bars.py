"""Progress bars: a custom one is updated, and short calls show none."""

import pytest
import tqdm


class Bar:
    """A progress bar that records its updates."""

    def __init__(self, **settings):
        self.settings = settings
        self.done = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.settings["closed"] = True

    def update(self, count):
        self.done += count


def test_a_callable_creates_the_progress_bar(tiny_bert):
    bars = []
    tiny_bert.embed(["a"] * 130, use_tqdm=lambda **settings: bars.append(Bar(**settings)) or bars[-1])
    (bar,) = bars
    assert bar.done == 130
    assert (bar.settings["total"], bar.settings["desc"], bar.settings["closed"]) == (130, "Processed prompts", True)


def test_a_custom_tqdm_is_used(tiny_bert, capsys):
    tiny_bert.embed(["a"] * 3, use_tqdm=tqdm.tqdm)
    seen = capsys.readouterr()
    assert "Processed prompts: 100%" in seen.err
    assert seen.out == ""


@pytest.mark.parametrize("use_tqdm", [True, False])
def test_short_calls_show_no_progress(tiny_bert, capsys, monkeypatch, use_tqdm):
    monkeypatch.setattr("tqdm.std.time", lambda: 0.0)  # by its clock, however busy the machine
    tiny_bert.embed(["a"] * 3, use_tqdm=use_tqdm)
    assert capsys.readouterr() == ("", "")
