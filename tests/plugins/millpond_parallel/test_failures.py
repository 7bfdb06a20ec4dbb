"""Engine processes that are killed, and programs that end: no request is lost and no process is left."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from waiting import eventually, eventually_on_loop
from weight_files import replace_weights

from millpond import LLM, AsyncLLM
from millpond.testing.checkpoints import tiny
from millpond.types.errors import EngineClosedError, EngineError

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
SHARED_MEMORY = Path("/dev/shm")
SCRIPT = """
import os, sys, time
from millpond import LLM
llm = LLM({model!r}, data_parallel_size=2)
print(*[status.pid for status in llm._engine.runner.statuses()], flush=True)
{then}
"""
COMPUTE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
llm.embed(["a cat sat on the mat " * 4 + str(number) for number in range(100_000)])
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_request_and_is_replaced(pair, single, texts, executor, pids):
    many = [f"{text} {number}" for number in range(60) for text in texts]
    expected = single.embed(many, output="array", use_tqdm=False)
    victim, survivor = pids(pair)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(pair.embed, many, output="array", use_tqdm=False)
        eventually(lambda: executor(pair).statuses()[0].queued_tokens, call)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: executor(pair).num_workers == 1 or executor(pair).statuses()[0].restarts)
        assert time.monotonic() - killed < 1.0
    np.testing.assert_array_equal(call.result(), expected)
    eventually(lambda: all(status.is_alive for status in executor(pair).statuses()))
    first, second = executor(pair).statuses()
    assert (first.restarts, second.restarts) == (1, 0)
    assert second.pid == survivor
    before = first.batches
    np.testing.assert_array_equal(pair.embed(many[:600], output="array", use_tqdm=False), expected[:600])
    assert executor(pair).statuses()[0].batches > before


@pytest.mark.slow
def test_a_process_that_is_started_again_does_not_compute_with_other_weights(tmp_path, texts, pids, caplog):
    folder = tiny("BertModel", tmp_path)
    with LLM(str(folder), data_parallel_size=2, batch_invariant=True) as llm:
        expected = llm.embed(texts, output="array", use_tqdm=False)
        replace_weights(folder)
        os.kill(pids(llm)[0], signal.SIGKILL)
        eventually(lambda: "cannot load the model" in caplog.text)
        np.testing.assert_array_equal(llm.embed(texts, output="array", use_tqdm=False), expected)
    assert "model.safetensors has changed since" in caplog.text


@pytest.mark.slow
def test_the_end_of_all_processes_is_an_error(pair, executor, pids):
    for pid in pids(pair):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: executor(pair).crash is not None)
    with pytest.raises(
        EngineClosedError, match=r"no engine process is left: .*killed by SIGKILL.*Load the model again"
    ):
        pair.embed("a")
    with pytest.raises(EngineClosedError):
        pair.embed("a")


@pytest.mark.slow
def test_the_online_engine_reports_the_end_of_all_processes_while_idle(bert):
    async def run():
        async with AsyncLLM(bert, data_parallel_size=2) as llm:
            first = await llm.embed("a cat", output="array")
            for status in llm.engine.engine.runner.statuses():
                os.kill(status.pid, signal.SIGKILL)
            eventually(lambda: llm.engine.crash_reason)
            assert not llm.engine.is_alive
            with pytest.raises(EngineClosedError):
                await llm.embed("a cat")
            llm.restart()
            np.testing.assert_array_equal(await llm.embed("a cat", output="array"), first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)  # the thread of the engine ends with the error
        asyncio.run(run())


@pytest.mark.slow
def test_closing_leaves_no_process_and_no_shared_memory(bert, pids, wait_for_end):
    before = set(SHARED_MEMORY.glob("*"))
    llm = LLM(bert, data_parallel_size=2)
    running = pids(llm)
    # Waits because files of other tests may exist for a moment.
    eventually(lambda: {path for path in SHARED_MEMORY.glob("*") if "PostgreSQL" not in path.name} <= before)
    llm.close()
    wait_for_end(running)
    llm.close()
    with pytest.raises(EngineClosedError):
        llm.embed("a")


@pytest.mark.slow
def test_an_unused_model_ends_its_processes(bert, pids, wait_for_end):
    llm = LLM(bert, data_parallel_size=2)
    running = pids(llm)
    del llm
    gc.collect()
    wait_for_end(running)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "sent", "exit_code"),
    [
        ("time.sleep(600)", signal.SIGKILL, -signal.SIGKILL),
        ("sys.exit(3)", None, 3),
        ("os._exit(4)", None, 4),
        (COMPUTE, signal.SIGINT, -signal.SIGINT),
    ],
)
def test_no_process_outlives_its_program(bert, wait_for_end, then, sent, exit_code):
    """The scripts have no main guard: engine processes do not import them."""
    script = SCRIPT.format(model=bert, then=then)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as program:
        running = [int(pid) for pid in program.stdout.readline().split()]
        assert len(running) == 2
        if sent is not None:
            time.sleep(1.0 if sent == signal.SIGINT else 0.0)
            program.send_signal(sent)
        assert program.wait(300) == exit_code
    wait_for_end(running)


@pytest.mark.slow
def test_a_timeout_blames_a_process_that_a_signal_stopped(bert):
    async def main():
        async with AsyncLLM(bert, data_parallel_size=2) as llm:
            first, _ = llm.engine.engine.runner.statuses()
            os.kill(first.pid, signal.SIGSTOP)
            call = asyncio.create_task(llm.embed("a cat"))
            await eventually_on_loop(lambda: llm.engine.engine.runner.statuses()[0].queued_tokens, call)
            failures = []
            llm.engine.engine.on_failure = failures.append
            llm.engine.abandon(llm.engine.waiting(), "the model hangs", may_be_cause=True)
            with pytest.raises(EngineError, match=rf"pid {first.pid}\) was stopped by a signal or a debugger"):
                await call
            assert failures == []
            assert len(await llm.embed("a cat")) == 1

    asyncio.run(main())
