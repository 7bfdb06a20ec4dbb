"""AsyncLLM: the same results as LLM, concurrent calls, cancellation, overload, closing, a responsive event loop."""

import asyncio
import gc
import threading

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, PoolingParams
from millpond.types.errors import EngineClosedError, EngineError, EngineOverloadedError, InvalidInputError

TEXTS = ["a mill by the pond", "rain", "the city at night, cold and dark", "two birds over the river", "a"] * 4
POISON = 5  # a token id that no text in these tests has


def vectors(outputs):
    return np.stack([output.outputs.array for output in outputs])


@pytest.fixture
def make(folder, watched, closing):
    """Load the tiny BERT, watched; it is closed after the test, on any event loop."""

    def make(num_workers=2, **arguments):
        llm = AsyncLLM(folder, plugins=watched.plugins, num_workers=num_workers, **arguments)
        closing.callback(lambda: asyncio.run(llm.close(finish=False)))
        return llm

    return make


@pytest.fixture(scope="session")
def expected(folder):
    """The embedding of each text, asked for alone."""
    with LLM(folder, num_workers=1) as llm:
        return {text: llm.embed(text, use_tqdm=False)[0].outputs.array for text in TEXTS}


def check(outputs, texts, expected):
    np.testing.assert_allclose(vectors(outputs), np.stack([expected[text] for text in texts]), atol=1e-6, rtol=0)


async def held(gate, count=1):
    """Wait, beside the loop, until forwards are held."""
    await asyncio.to_thread(gate.wait, count)


async def queued(llm, tokens):
    """Wait until the engine has a number of tokens."""
    while llm.engine.waiting_tokens < tokens:  # noqa: ASYNC110  the engine has no event for it
        await asyncio.sleep(0)


# --- results ----------------------------------------------------------------------------------------------------------


def test_it_equals_llm(make, folder):
    async def main():
        llm = make()
        return await llm.embed(TEXTS), await llm.encode(TEXTS[:3], pooling_task="token_embed")

    embedded, rows = asyncio.run(main())
    with LLM(folder, num_workers=2) as llm:
        np.testing.assert_allclose(vectors(embedded), vectors(llm.embed(TEXTS, use_tqdm=False)), atol=1e-6, rtol=0)
        for output, twin in zip(rows, llm.encode(TEXTS[:3], pooling_task="token_embed", use_tqdm=False), strict=True):
            np.testing.assert_allclose(output.outputs.data, twin.outputs.data, atol=1e-6, rtol=0)
            assert output.prompt_token_ids == twin.prompt_token_ids
            assert type(output) is type(twin)


def test_a_real_model_equals_llm(minilm):
    async def main():
        async with AsyncLLM(minilm.model_config.identity.path) as llm:
            return await asyncio.gather(*[llm.embed(text) for text in TEXTS[:5]])

    one_by_one = [output for (output,) in asyncio.run(main())]
    together = minilm.embed(TEXTS[:5], use_tqdm=False)
    np.testing.assert_allclose(vectors(one_by_one), vectors(together), atol=1e-6, rtol=0)


def test_concurrent_calls_each_get_their_own_results(make, expected):
    calls = [[TEXTS[(start + offset) % len(TEXTS)] for offset in range(1 + start % 3)] for start in range(200)]

    async def main():
        llm = make()
        return await asyncio.gather(*[llm.embed(call) for call in calls])

    answers = asyncio.run(main())
    for call, outputs in zip(calls, answers, strict=True):
        check(outputs, call, expected)
    ids = [output.request_id for outputs in answers for output in outputs]
    assert len(set(ids)) == len(ids)


def test_calls_that_wait_share_a_batch(make, watched, gate):
    seen = []
    watched.watch(lambda sequences: (seen.append(len(sequences)), gate()))

    async def main():
        llm = make(1)
        first = asyncio.create_task(llm.embed([7, 8]))
        await held(gate)
        others = [asyncio.create_task(llm.embed([7, number])) for number in range(20, 60)]
        await queued(llm, 2 + 80)
        gate.open()
        await asyncio.gather(first, *others)

    asyncio.run(main())
    assert seen == [1, 40]


def test_two_event_loops_share_one_engine(make, expected):
    llm = make()

    async def main():
        return await asyncio.gather(*[llm.embed(TEXTS[:5]) for _ in range(10)])

    answers = []
    threads = [threading.Thread(target=lambda: answers.extend(asyncio.run(main()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 30
    for outputs in answers:
        check(outputs, TEXTS[:5], expected)


def test_params_are_taken_per_prompt(make):
    bare, normal = PoolingParams(use_activation=False), PoolingParams()

    async def main():
        return await make().embed([TEXTS[0]] * 2, pooling_params=[bare, normal])

    lengths = np.linalg.norm(vectors(asyncio.run(main())), axis=1)
    assert lengths[1] == pytest.approx(1, abs=1e-6)
    assert lengths[0] != pytest.approx(1, abs=1e-3)


def test_a_lower_priority_number_overtakes_waiting_calls(make, watched, gate):
    seen = []
    watched.watch(lambda sequences: (seen.append(sequences[0]), gate()))

    async def main():
        llm = make(1, max_num_seqs=1)
        calls = [asyncio.create_task(llm.embed([7]))]
        await held(gate)
        for number, priority in [(8, 5), (9, 5), (10, -1)]:
            calls.append(asyncio.create_task(llm.embed([number], priority=priority)))
            await queued(llm, len(calls))
        gate.open()
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert seen == [(7,), (10,), (8,), (9,)]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_the_first_bad_prompt_is_raised_before_anything_is_computed(make, watched):
    seen = []
    watched.watch(seen.append)

    async def main():
        await make().embed(["a", "\ud800", "b"])

    with pytest.raises(InvalidInputError, match="prompt 1: the text has a lone surrogate"):
        asyncio.run(main())
    assert seen == []


def test_a_bad_prompt_is_returned_beside_the_others(make, expected):
    async def main():
        return await make().embed([*TEXTS[:3], "\ud800", *TEXTS[3:5]], on_error="return")

    outputs = asyncio.run(main())
    assert [output.error is None for output in outputs] == [True] * 3 + [False] + [True] * 2
    assert outputs[3].outputs is None
    assert outputs[3].error.index == 3
    check(outputs[:3] + outputs[4:], TEXTS[:5], expected)


def test_a_call_with_only_invalid_prompts_returns(make):
    async def main():
        return await make().embed(["\ud800", "\udfff"], on_error="return")

    assert [output.error.index for output in asyncio.run(main())] == [0, 1]


def test_a_prompt_the_model_fails_on_is_raised_or_returned_and_costs_no_other_call(make, watched, kit, expected):
    watched.watch(kit.fails_on(POISON))

    async def main():
        llm = make()
        bad = [[7, 8], [POISON], [9]]
        raised, returned, *good = await asyncio.gather(
            llm.embed(bad),
            llm.embed(bad, on_error="return"),
            *[llm.embed(TEXTS[:5]) for _ in range(20)],
            return_exceptions=True,
        )
        return raised, returned, good

    raised, returned, good = asyncio.run(main())
    assert isinstance(raised, EngineError)
    assert str(raised).startswith("prompt 1: ")
    assert "poison" in str(raised)
    assert [output.error is None for output in returned] == [True, False, True]
    for outputs in good:
        check(outputs, TEXTS[:5], expected)


def test_an_unknown_way_to_treat_errors_is_refused(make):
    with pytest.raises(InvalidInputError, match="on_error='skip'"):
        asyncio.run(make().embed("a", on_error="skip"))


def test_overload_raises_and_is_temporary(make, watched, gate):
    watched.watch(gate)

    async def main():
        llm = make(1, max_waiting_tokens=10)
        taken = asyncio.create_task(llm.embed([7] * 8))
        await held(gate)
        with pytest.raises(EngineOverloadedError, match="max_waiting_tokens=10"):
            await llm.embed([8] * 3, on_error="return")
        gate.open()
        await taken
        return await llm.embed([8] * 3)

    assert len(asyncio.run(main())) == 1


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_cancelled_call_drops_its_requests_that_are_not_running(make, watched, gate):
    seen = []
    watched.watch(lambda sequences: (seen.extend(sequences), gate()))
    problems = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        llm = make(1, max_num_seqs=2)
        first = asyncio.create_task(llm.embed([[7], [8], [9], [10]]))
        await held(gate)
        second = asyncio.create_task(llm.embed([[11], [12], [13]]))
        third = asyncio.create_task(llm.embed([[14]]))
        await queued(llm, 8)
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


def test_a_call_cancelled_while_it_is_tokenised_is_not_computed(make, watched, monkeypatch, kit):
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
        await asyncio.to_thread(begun.wait, kit.patience)
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
    loop.run_until_complete(held(gate))
    loop.close()
    gate.open()
    check(asyncio.run(llm.embed(TEXTS)), TEXTS, expected)
    assert llm.engine.is_alive
    del call, loop
    gc.collect()
    assert "caller failed" not in caplog.text


# --- closing ----------------------------------------------------------------------------------------------------------


def test_close_finishes_the_calls_that_wait(make, watched, gate, expected):
    watched.watch(gate)

    async def main():
        llm = make(1, max_num_seqs=2)
        calls = [asyncio.create_task(llm.embed(TEXTS[:5])) for _ in range(4)]
        await held(gate)
        await queued(llm, 4 * 20)
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
        await held(gate)
        await queued(llm, 4)
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


def test_a_call_tokenised_while_the_engine_closes_raises_engine_closed_error(make, monkeypatch, kit):
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
        call = asyncio.create_task(llm.embed("a"))
        await asyncio.to_thread(begun.wait, kit.patience)
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


# --- the loop goes on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["encode", "finish"])
def test_the_event_loop_goes_on_while_a_call_is_tokenised_or_finished(make, monkeypatch, stage, kit):
    """The stage, once begun, waits for the loop to tick: on the loop itself it would wait in vain."""
    begun, ticked, waited = asyncio.Event(), threading.Event(), []

    async def ticker():
        await begun.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        ticked.set()

    async def main():
        llm, loop = make(), asyncio.get_running_loop()
        task = llm.pipeline.bind("embed")
        work = getattr(task, stage)

        def patient(*arguments):
            loop.call_soon_threadsafe(begun.set)
            waited.append(ticked.wait(kit.patience))
            return work(*arguments)

        monkeypatch.setattr(task, stage, patient)
        outputs, _ = await asyncio.gather(llm.embed(TEXTS), ticker())
        return outputs

    assert len(asyncio.run(main())) == len(TEXTS)
    assert all(waited), "the event loop stood still"


def test_the_event_loop_goes_on_while_the_model_computes(make, watched, gate):
    watched.watch(gate)

    async def main():
        llm = make(1)
        call = asyncio.create_task(llm.embed([7] * 60))
        await held(gate)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not call.done()
        gate.open()
        return await call

    assert len(asyncio.run(main())) == 1


# --- death ------------------------------------------------------------------------------------------------------------


def test_a_crashed_engine_can_be_restarted(make, watched, kit, expected, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # pytest would warn

    async def main():
        llm = make()
        with pytest.raises(EngineClosedError, match="did not crash"):
            llm.restart()
        watched.watch(kit.fails_on(*range(1000), error=KeyboardInterrupt))
        with pytest.raises(EngineClosedError, match="KeyboardInterrupt"):
            await llm.embed("a")
        watched.watch(lambda _: None)
        for _ in range(2400):  # two minutes, if the machine is that busy
            if llm.engine.crash_reason:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(EngineClosedError):
            await llm.embed("a")
        llm.engine.max_wait_s = 60.0
        llm.restart()
        assert llm.engine.max_wait_s == 60.0
        text = next(iter(expected))
        check(await llm.embed(text), [text], expected)

    asyncio.run(main())
