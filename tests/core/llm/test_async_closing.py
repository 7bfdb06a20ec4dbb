"""AsyncLLM: closing, and the restart of a crashed engine."""

import asyncio
import gc
import threading
import time

import pytest
from async_kit import TEXTS, check, held, queued
from waiting import eventually_on_loop

from millpond import AsyncLLM
from millpond.types.errors import EngineClosedError

# --- closing ----------------------------------------------------------------------------------------------------------


def test_close_finishes_the_calls_that_wait(make, watched, gate, expected):
    watched.watch(gate)

    async def main():
        llm = make(1, max_num_seqs=2)
        calls = [asyncio.create_task(llm.embed(TEXTS[:5])) for _ in range(4)]
        await held(gate, *calls)
        await queued(llm, 4 * 20, *calls)
        closing = asyncio.create_task(llm.close())
        await asyncio.sleep(0)
        gate.open()
        await closing
        return await asyncio.gather(*calls)

    for outputs in asyncio.run(main()):
        check(outputs, TEXTS[:5], expected)


def test_close_without_finishing_fails_the_calls_that_wait(make, watched, gate):
    watched.watch(gate)

    async def main():
        llm = make(1)
        calls = [asyncio.create_task(llm.embed([7, 8], on_error=way)) for way in ("raise", "return")]
        await held(gate, *calls)
        await queued(llm, 4, *calls)
        closing = asyncio.create_task(llm.close(finish=False))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        gate.open()
        await closing
        return outcomes

    raised, returned = asyncio.run(main())
    assert isinstance(raised, EngineClosedError)
    assert isinstance(returned[0].error, EngineClosedError)


def test_a_call_after_close_raises_engine_closed_error(make):
    async def main():
        llm = make()
        await llm.close()
        await llm.close()
        with pytest.raises(EngineClosedError, match="closed"):
            await llm.embed("a")
        with pytest.raises(EngineClosedError, match="closed"):
            await llm.embed("\ud800", on_error="return")

    asyncio.run(main())


def test_a_call_tokenized_while_the_engine_closes_raises_engine_closed_error(make, monkeypatch, kit):
    go_on, begun = threading.Event(), threading.Event()

    async def main():
        llm = make(1)
        task = llm.pipeline.bind("embed")
        encode = task.encode

        def held_prepare(*arguments):
            begun.set()
            assert go_on.wait(kit.patience)
            return encode(*arguments)

        monkeypatch.setattr(task, "encode", held_prepare)
        call = asyncio.create_task(llm.embed(["a", "b"]))
        await eventually_on_loop(begun.is_set, call)
        await llm.close()
        go_on.set()
        with pytest.raises(EngineClosedError, match="closed"):
            await call

    asyncio.run(main())


def test_the_context_manager_ends_every_thread(folder, kit, threads_named):
    async def main():
        async with AsyncLLM(folder, num_workers=2) as llm:
            await asyncio.gather(*[llm.embed("a") for _ in range(5)])
            threads = threads_named("millpond-")
        assert {thread.name.rstrip("-_0123456789") for thread in threads} == {
            "millpond-engine",
            "millpond-render",
            "millpond-worker",
        }
        return threads

    for thread in asyncio.run(main()):
        thread.join(kit.patience)
        assert not thread.is_alive()


# --- death ------------------------------------------------------------------------------------------------------------


def dying(**_):
    raise KeyboardInterrupt  # ends the thread of the engine


def test_a_crashed_engine_can_be_restarted(make, expected, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # pytest would warn

    async def main():
        llm = make()
        with pytest.raises(EngineClosedError, match="did not crash"):
            llm.restart()
        with monkeypatch.context() as patch:
            patch.setattr(llm.engine.engine, "step", dying)
            with pytest.raises(EngineClosedError, match="KeyboardInterrupt"):
                await llm.embed("a")
        await eventually_on_loop(lambda: llm.engine.crash_reason)
        with pytest.raises(EngineClosedError):
            await llm.embed("a")
        llm.engine.max_wait_s, llm.engine.on_ended = 60.0, ended.extend
        llm.restart()
        assert llm.engine.max_wait_s == 60.0
        text = next(iter(expected))
        check(await llm.embed(text), [text], expected)
        assert len(ended) == 1

    ended = []
    asyncio.run(main())


# --- objects that are no longer used ----------------------------------------------------------------------------------


def test_a_model_that_is_no_longer_used_ends_its_threads(folder):
    before = set(threading.enumerate())

    async def main():
        llm = AsyncLLM(folder, num_workers=2)
        await llm.embed(TEXTS)

    asyncio.run(main())
    gc.collect()
    deadline = time.monotonic() + 20
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, [thread.name for thread in left]
        time.sleep(0.01)
