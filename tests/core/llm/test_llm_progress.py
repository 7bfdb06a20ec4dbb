"""Progress bars of LLM: the counts, custom bars, and bars that raise."""

import contextlib
import functools
import io

import pytest
import tqdm
from llm_kit import FAULTY, check, embed, texts_of


def test_a_custom_progress_bar_counts_every_prompt(plain):
    shown = io.StringIO()
    outputs = plain.embed(texts_of(200), use_tqdm=functools.partial(tqdm.tqdm, file=shown, mininterval=0))
    assert len(outputs) == 200
    assert "Processed prompts" in shown.getvalue()
    assert "200/200" in shown.getvalue()


class Bar(contextlib.nullcontext):
    """A progress bar that records its updates, and raises at a count."""

    def __init__(self, *, total, desc, raise_at=None, error=None, **_):
        super().__init__(self)
        self.total, self.desc, self.count = total, desc, 0
        self.raise_at, self.error = raise_at, error

    def update(self, count):
        self.count += count
        if self.raise_at is not None and self.count >= self.raise_at:
            raise self.error


def test_invalid_prompts_count_as_progress(plain):
    bars = []
    prompts = [FAULTY if number % 7 == 0 else "a" for number in range(100)]
    plain.embed(prompts, on_error="return", use_tqdm=lambda **named: bars.append(Bar(**named)) or bars[-1])
    assert (bars[0].total, bars[0].count) == (100, 100)


@pytest.mark.parametrize("use_tqdm", [True, False])
def test_short_calls_show_no_bar_and_stdout_is_never_written_to(plain, use_tqdm, capfd):
    assert len(plain.embed(["a", "b"], use_tqdm=use_tqdm)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert use_tqdm or err == ""


@pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt()])
def test_a_progress_bar_that_raises_leaves_the_model_usable(plain, error):
    with pytest.raises(type(error)):
        plain.embed(texts_of(1000), use_tqdm=functools.partial(Bar, raise_at=10, error=error))
    texts = texts_of(5)
    check(plain, embed(plain, texts), texts)
