"""Engine processes that a signal stopped are named in a warning: a call without a time limit waits for them."""

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from waiting import eventually

from millpond_parallel import pool as module
from millpond_parallel.engine_process import Start
from millpond_parallel.placement import Placement
from millpond_parallel.pool import EnginePool, Slot

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")


@pytest.fixture
def slot():
    slot = Slot(Start("0", (), 30, b""), Placement("cpu", ()), num_workers=1)
    slot.process = SimpleNamespace(pid=42, is_stopped=True)
    return slot


@pytest.fixture
def watch(slot, monkeypatch, caplog):
    """Look at the process at a time, and return the number of warnings so far."""
    pool = EnginePool([slot], [])

    def watch(seconds):
        monkeypatch.setattr(module.time, "monotonic", lambda: seconds)
        pool.watch(slot)
        return len(caplog.messages)

    return watch


def test_a_stopped_process_with_work_is_named_once(slot, watch, caplog):
    slot.flights = {1: None, 2: None}
    assert [watch(seconds) for seconds in (0, 9, 11, 12, 100)] == [0, 0, 1, 1, 1]
    assert caplog.text.endswith(
        "engine process 0 (pid 42) was stopped by a signal or a debugger while it computes 2 batches: "
        "let it continue (kill -CONT 42), or kill it\n"
    )
    slot.process.is_stopped = False
    assert watch(101) == 1
    slot.process.is_stopped = True
    assert [watch(seconds) for seconds in (200, 211)] == [1, 2]


def test_a_process_that_is_stopped_while_it_loads_is_named(slot, watch, caplog):
    slot.num_workers = 0
    assert [watch(seconds) for seconds in (0, 11)] == [0, 1]
    assert "while it loads the model" in caplog.text


def test_a_stopped_process_without_work_is_not_named(slot, watch):
    assert [watch(seconds) for seconds in (0, 60)] == [0, 0]


@pytest.mark.slow
def test_a_call_of_llm_names_the_stopped_process_and_then_continues(pair, single, pids, monkeypatch, caplog):
    monkeypatch.setattr(module, "STOPPED_WARNING_S", 0.5)
    texts = [f"a cat sat on mat {number}" for number in range(400)]
    victim, results = pids(pair)[0], []
    os.kill(victim, signal.SIGSTOP)
    call = threading.Thread(target=lambda: results.append(pair.embed(texts, output="array", use_tqdm=False)))
    call.start()
    eventually(lambda: f"(pid {victim}) was stopped by a signal" in caplog.text)
    assert call.is_alive()
    os.kill(victim, signal.SIGCONT)
    call.join()
    np.testing.assert_array_equal(results[0], single.embed(texts, output="array", use_tqdm=False))
