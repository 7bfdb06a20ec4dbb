"""AsyncLLM: the same results as LLM for concurrent calls, without blocking the event loop."""

import asyncio
import threading

import numpy as np
import pytest
from async_kit import TEXTS, check, held, queued, vectors

from millpond import LLM, AsyncLLM, PoolingParams

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
        await held(gate, first)
        others = [asyncio.create_task(llm.embed([7, number])) for number in range(20, 60)]
        await queued(llm, 2 + 80, first, *others)
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


def test_params_apply_per_prompt(make):
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
        await held(gate, *calls)
        for number, priority in [(8, 5), (9, 5), (10, -1)]:
            calls.append(asyncio.create_task(llm.embed([number], priority=priority)))
            await queued(llm, len(calls), *calls)
        gate.open()
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert seen == [(7,), (10,), (8,), (9,)]


# --- the loop goes on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["encode", "finish"])
def test_the_event_loop_is_free_while_a_call_is_tokenized_or_finished(make, monkeypatch, stage, kit):
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

        def patient(*arguments, **options):
            loop.call_soon_threadsafe(begun.set)
            waited.append(ticked.wait(kit.patience))
            return work(*arguments, **options)

        monkeypatch.setattr(task, stage, patient)
        outputs, _ = await asyncio.gather(llm.embed(TEXTS), ticker())
        return outputs

    assert len(asyncio.run(main())) == len(TEXTS)
    assert all(waited), "the event loop stood still"


def test_the_event_loop_continues_while_the_model_computes(make, watched, gate):
    watched.watch(gate)

    async def main():
        llm = make(1)
        call = asyncio.create_task(llm.embed([7] * 60))
        await held(gate, call)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not call.done()
        gate.open()
        return await call

    assert len(asyncio.run(main())) == 1


def test_one_short_text_is_encoded_on_the_event_loop_and_other_calls_on_threads(make, monkeypatch):
    names = []

    async def main():
        llm = make(1)
        task = llm.pipeline.bind("embed")
        encode = task.encode
        monkeypatch.setattr(
            task, "encode", lambda *args: names.append(threading.current_thread().name) or encode(*args)
        )
        await llm.embed("a")
        await llm.embed(["a", "b"])
        await llm.embed("a " * 600, on_overflow="truncate")
        await asyncio.gather(llm.embed("c"), llm.embed("d"))
        await llm.close()

    asyncio.run(main())
    first, *others = names
    assert first == threading.main_thread().name
    assert [name.startswith("millpond-render") for name in others[:2]] == [True, True]
