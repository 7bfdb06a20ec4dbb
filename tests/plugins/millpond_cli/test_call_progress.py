"""The progress bar of a command: one over all of its calls, in texts, even if a call counts other items."""

import pytest

from millpond import LLM
from millpond.testing import checkpoints
from millpond_cli.io.rows import Row
from millpond_cli.options import CallOptions, PairOptions
from millpond_cli.row_runners import encode_runner, score_runner
from millpond_command.progress import CallProgress, Progress


class Bar(Progress):
    """A bar that is not shown."""

    def __init__(self):
        super().__init__(shown=False, total=None)
        self.updates = []

    def update(self, count):
        self.updates.append(count)


@pytest.mark.parametrize(("texts", "items"), [(5, 5), (5, 10), (5, 6), (7, 3), (1, 2)])
def test_a_call_adds_its_texts_to_the_bar(texts, items):
    bar = Bar()
    with CallProgress(bar, num_texts=texts, num_items=items) as progress:
        for _ in range(items):
            progress.update(1)
            assert sum(bar.updates) <= texts
    assert sum(bar.updates) == texts
    assert min(bar.updates) >= 0


def test_texts_and_pairs_are_counted_once(tmp_path):
    rows = [Row(n, "", f"the dog {n}", query=f"a cat {n % 2}") for n in range(9)]
    with LLM(str(checkpoints.tiny("BertModel", tmp_path / "model"))) as llm:
        for run in (encode_runner("embed", CallOptions()), score_runner(CallOptions(), PairOptions())):
            bar = Bar()
            assert len(run(llm, rows, bar)) == 9
            assert sum(bar.updates) == 9
