"""AsyncLLM: calls that are cancelled, time out, or whose event loop closes."""

import asyncio
import gc
import threading

import pytest
from async_kit import TEXTS, check, held, queued
from waiting import eventually_on_loop


def test_a_cancelled_call_drops_its_requests_that_are_not_running(make, watched, gate):
    seen = []
    watched.watch(lambda sequences: (seen.extend(sequences), gate()))
    problems = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        llm = make(1, max_num_seqs=2)
        first = asyncio.create_task(llm.embed([[7], [8], [9], [10]]))
        await held(gate, first)
        second = asyncio.create_task(llm.embed([[11], [12], [13]]))
        third = asyncio.create_task(llm.embed([[14]]))
        await queued(llm, 8, first, second, third)
        for cancelled in (first, second):
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        gate.open()
        await third
        return llm.engine.waiting_tokens

    assert asyncio.run(main()) == 0
    assert set(seen) == {(7,), (8,), (14,)}
    assert problems == []


def test_a_call_that_times_out_leaves_the_engine_to_others(make, watched, gate, expected):
    watched.watch(gate)

    async def main():
        llm = make(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(llm.embed(TEXTS), 0.01)
        gate.open()
        return await llm.embed(TEXTS)

    check(asyncio.run(main()), TEXTS, expected)


def test_a_call_cancelled_while_it_is_tokenized_is_not_computed(make, watched, monkeypatch, kit):
    seen, go_on, begun = [], threading.Event(), threading.Event()
    watched.watch(seen.append)

    async def main():
        llm = make(1)
        task = llm.pipeline.bind("embed")
        encode = task.encode

        def held_prepare(*arguments):
            begun.set()
            assert go_on.wait(kit.patience)
            return encode(*arguments)

        monkeypatch.setattr(task, "encode", held_prepare)
        call = asyncio.create_task(llm.embed([[7]]))
        await eventually_on_loop(begun.is_set, call)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await llm.embed([[8]])

    asyncio.run(main())
    assert seen == [[(8,)]]


def test_a_loop_closed_before_the_result_does_not_crash_the_engine(make, watched, gate, expected, caplog):
    watched.watch(gate)
    llm = make(1)
    loop = asyncio.new_event_loop()
    call = loop.create_task(llm.embed([[7]]))
    loop.run_until_complete(held(gate, call))
    loop.close()
    gate.open()
    check(asyncio.run(llm.embed(TEXTS)), TEXTS, expected)
    assert llm.engine.is_alive
    del call, loop
    gc.collect()
    assert "caller failed" not in caplog.text
