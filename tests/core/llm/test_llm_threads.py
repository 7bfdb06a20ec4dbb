"""LLM with several threads: concurrent calls, interrupts, and closing."""

import contextlib
import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llm_kit import FAULTY, POISON, check, embed, texts_of, vectors

from millpond import LLM
from millpond.types.errors import EngineClosedError, EngineError, InvalidInputError

# --- threads and interrupts -------------------------------------------------------------------------------------------


def test_calls_from_several_threads_each_get_their_own(plain):
    def caller(number):
        texts = texts_of(100)[number :: 1 + number % 4]
        return texts, embed(plain, texts)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(caller, range(24)))
    alone = dict(zip(texts_of(100), vectors(embed(plain, texts_of(100))), strict=True))
    for texts, outputs in answers:
        np.testing.assert_allclose(vectors(outputs), np.stack([alone[text] for text in texts]), atol=1e-5, rtol=0)


def test_an_error_in_the_call_of_one_thread_does_not_affect_others(llm, watched, kit):
    watched.watch(kit.fails_on(POISON))

    def caller(number):
        if number % 3:
            return len(embed(llm, [[7, 10 + number]] * 5))
        with pytest.raises(EngineError):
            embed(llm, [[7]] * 20 + [[POISON]] * 3)
        return 5

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(caller, range(30))) == [5] * 30


@pytest.fixture
def interrupt():
    """Interrupts the main thread once, as Ctrl-C does; again and again until it has noticed."""
    noticed = threading.Event()

    def on_signal(*_):
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def interrupt():
        while not noticed.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, on_signal)
    yield interrupt
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
@pytest.mark.parametrize("count", [3, 1000])
def test_an_interrupt_ends_the_call_at_once_and_the_next_call_works(llm, watched, gate, interrupt, count):
    """The workers are held in the model: a call that waited for them would not end."""

    def interrupted(_):
        interrupt()
        gate()

    watched.watch(interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(llm, [[7, number % 50] for number in range(count)])
    watched.watch(lambda _: None)
    gate.open()
    prompts = [[8 + number % 50] * (1 + number % 5) for number in range(200)]
    outputs = embed(llm, prompts)
    assert [output.prompt_token_ids for output in outputs] == prompts
    check(llm, outputs[:5], prompts[:5])


# --- closing ----------------------------------------------------------------------------------------------------------


def workers_end(workers, kit):
    for worker in workers:
        worker.join(kit.patience)
    return workers and not any(worker.is_alive() for worker in workers)


def test_with_ends_the_workers(folder, threads_named, kit):
    with LLM(folder, num_workers=3) as llm:
        assert len(embed(llm, ["a", "b"])) == 2
        workers = threads_named("millpond-worker")
    assert len(workers) == 3
    assert workers_end(workers, kit)


def test_with_ends_the_workers_when_its_body_raises(folder, threads_named, kit):
    workers = []

    def body():
        with LLM(folder, num_workers=2) as llm:
            workers.extend(threads_named("millpond-worker"))
            embed(llm, FAULTY)

    with pytest.raises(InvalidInputError):
        body()
    assert workers_end(workers, kit)


def test_a_closed_model_raises_engine_closed_error(folder):
    llm = LLM(folder, num_workers=2)
    llm.close()
    llm.close()
    for prompts in ("a", texts_of(100)):
        with pytest.raises(EngineClosedError, match="closed"):
            embed(llm, prompts)


def test_close_waits_for_the_calls_of_other_threads(folder, watched, gate, kit):
    watched.watch(gate)
    llm = LLM(folder, plugins=watched.plugins, num_workers=1, max_num_seqs=2)
    prompts = [[7, number] for number in range(9)]
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(embed, llm, prompts)
        gate.wait(1, call)
        closing = pool.submit(llm.close)
        gate.open()
        assert [output.prompt_token_ids for output in call.result(kit.patience)] == prompts
        closing.result(kit.patience)
    with pytest.raises(EngineClosedError):
        embed(llm, "a")


def test_a_garbage_collected_model_stops_its_workers(folder, threads_named, kit):
    llm = LLM(folder, num_workers=2)
    embed(llm, texts_of(100))
    workers = threads_named("millpond-worker")
    del llm
    gc.collect()
    assert workers_end(workers, kit)


def test_a_model_garbage_collected_after_an_error_stops_its_workers(folder, threads_named, kit):
    llm = LLM(folder, num_workers=2)
    with contextlib.suppress(InvalidInputError):
        embed(llm, ["a"] * 100 + [FAULTY])
    workers = threads_named("millpond-worker")
    del llm
    gc.collect()
    assert workers_end(workers, kit)


def test_many_models_leave_no_threads(folder, threads_named, kit):
    everyone = set()
    for _ in range(20):
        with LLM(folder, num_workers=2) as llm:
            embed(llm, texts_of(70))
            everyone.update(threads_named("millpond-"))
    assert len(everyone) >= 40
    assert workers_end(list(everyone), kit)
