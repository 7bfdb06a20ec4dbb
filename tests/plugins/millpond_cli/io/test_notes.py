"""The progress bar of a command: one over all of its calls, in texts, whatever a call computes them as."""

import pytest

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli.asking import encoding, scoring
from millpond_cli.io.notes import Progress, Share
from millpond_cli.io.rows import Row
from millpond_cli.options import Asking, Pairing


class Bar(Progress):
    """A bar that nobody sees."""

    def __init__(self):
        super().__init__(shown=False, total=None)
        self.told = []

    def update(self, count):
        self.told.append(count)


@pytest.mark.parametrize(("texts", "items"), [(5, 5), (5, 10), (5, 6), (7, 3), (1, 2)])
def test_a_call_adds_its_texts_to_the_bar(texts, items):
    bar = Bar()
    with Share(bar, texts=texts, items=items) as share:
        for _ in range(items):
            share.update(1)
            assert sum(bar.told) <= texts
    assert sum(bar.told) == texts
    assert min(bar.told) >= 0


def test_texts_and_pairs_are_counted_once(tmp_path):
    rows = [Row(n, "", f"the dog {n}", query=f"a cat {n % 2}") for n in range(9)]
    with LLM(str(checkpoints.tiny("BertModel", tmp_path / "model"))) as llm:
        for ask in (encoding("embed", Asking()), scoring(Asking(), Pairing())):
            bar = Bar()
            assert len(ask(llm, rows, bar)) == 9
            assert sum(bar.told) == 9
