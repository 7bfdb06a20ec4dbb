"""Progress of batches: recorded at the start of the batch and of some layers, separately for each batch."""

import gc
import threading
import weakref
from types import SimpleNamespace

import pytest
from torch import nn

from millpond.engine.request import RequestState
from millpond.engine.runner import MAX_CALLS_PER_LAYER, MAX_HOOKED_LAYERS, Progress, progress_of


class Layer(nn.Module):
    """A layer that reports the recorded progress before it computes."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, batch):
        self.seen.append(batch[0].state.advanced)
        return batch


class Stack(nn.Module):
    """Layers below another module, each with a nested module list."""

    def __init__(self, count, seen):
        super().__init__()
        self.inner = nn.Module()
        self.inner.layers = nn.ModuleList([Layer(seen) for _ in range(count)])
        for layer in self.inner.layers:
            layer.parts = nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, batch, times=1):
        for _ in range(times):
            for layer in self.inner.layers:
                layer(batch)


@pytest.fixture
def clock(monkeypatch):
    ticks = iter(range(1, 10_000))
    monkeypatch.setattr("millpond.engine.runner.perf_counter", lambda: next(ticks))


def batch():
    return [SimpleNamespace(state=RequestState()), SimpleNamespace(state=RequestState())]


@pytest.mark.parametrize(("layers", "marks"), [(0, 0), (1, 1), (3, 3), (4, 4), (6, 4), (24, 4)])
def test_a_few_layers_record_their_start(clock, layers, marks):
    model, one = Stack(layers, []), batch()
    progress = Progress(model)
    assert progress.num_hooks == marks <= MAX_HOOKED_LAYERS
    progress.begin(one)
    assert one[0].state.advanced == 1
    model(one)
    assert one[0].state.advanced == 1 + marks
    assert one[1].state.advanced == 0
    progress.end()
    model(one)
    assert one[0].state.advanced == 1 + marks


def test_hooks_are_spread_over_the_model(clock):
    seen, one = [], batch()
    model = Stack(8, seen)
    Progress(model).begin(one)
    model(one)
    assert seen == [2, 2, 3, 3, 4, 4, 5, 5]


def test_a_model_in_an_infinite_loop_makes_no_progress(clock):
    model, one = Stack(4, []), batch()
    progress = Progress(model)
    progress.begin(one)
    model(one, times=MAX_CALLS_PER_LAYER + 5)
    assert one[0].state.advanced == 1 + MAX_CALLS_PER_LAYER * 4
    progress.begin(one)
    before = one[0].state.advanced
    model(one)
    assert one[0].state.advanced == before + 4


def test_each_thread_records_its_own_batch_and_threads_without_a_batch_none():
    model, batches = Stack(4, []), [batch() for _ in range(8)]
    progress = progress_of(model)
    assert progress_of(model) is progress

    def work(batch):
        progress.begin(batch)
        for _ in range(50):
            model(batch)
        progress.end()

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches[1:]]
    for thread in threads:
        thread.start()
    model(batches[0])
    for thread in threads:
        thread.join()
    assert batches[0][0].state.advanced == 0
    assert all(batch[0].state.advanced > 0 for batch in batches[1:])


def test_runners_of_one_model_share_its_progress_recorder(kit, model, make_runner):
    model.layers = nn.ModuleList([nn.Identity() for _ in range(4)])
    first, second = make_runner(), make_runner()
    assert first.progress is second.progress
    one = kit.request([1, 2, 3])
    assert second.run([one]).error is None
    assert one.state.advanced > 0


def test_a_model_is_not_kept_alive():
    model = Stack(4, [])
    progress_of(model)
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None
