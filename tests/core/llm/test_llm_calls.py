"""LLM under use: order, windows, errors among many, threads, interrupts, closing."""

import contextlib
import functools
import gc
import io
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tqdm

from millpond import LLM, PoolingParams
from millpond.testing.tokenizers import WORDS
from millpond.types.errors import EngineClosedError, EngineError, InvalidInputError

POISON = 5  # a token id that no text in these tests has
BERT = "architecture 'BertModel' of plugin runtime"
FAILED = f"prompt 500: {BERT} failed on this request: RuntimeError: poison"
NUM_PROMPTS = 3000
FAULTY = [1, 10**9]  # an id outside any vocabulary


def texts_of(count):
    """Texts of 1 to 40 words."""
    numbers, words = np.random.default_rng(0), WORDS.split()
    return [" ".join(numbers.choice(words, 1 + number % 40)) for number in range(count)]


def vectors(outputs):
    return np.stack([output.outputs.array for output in outputs])


def embed(llm, prompts, **named):
    return llm.embed(prompts, use_tqdm=False, **named)


@pytest.fixture(scope="module")
def plain(folder):
    """The tiny BERT, for tests that change nothing of it."""
    with LLM(folder, num_workers=2, max_num_batched_tokens=512) as llm:
        yield llm


@pytest.fixture
def llm(make_llm):
    """The tiny BERT, watched."""
    return make_llm(2)


def check(llm, outputs, texts):
    """Each output is what its text gives alone."""
    assert len(outputs) == len(texts)
    for output, text in zip(outputs, texts, strict=True):
        assert output.error is None, output.error
        (alone,) = embed(llm, text)
        assert output.prompt_token_ids == alone.prompt_token_ids
        np.testing.assert_allclose(output.outputs.array, alone.outputs.array, atol=1e-5, rtol=0)


# --- order and windows ------------------------------------------------------------------------------------------------


def test_windows_of_thousands_of_prompts_equal_single_calls(plain):
    texts = texts_of(NUM_PROMPTS)
    outputs = embed(plain, texts)
    assert len(outputs) == NUM_PROMPTS
    sample = [0, 1, 63, 64, 65, 319, 320, 321, 1343, 1344, 2367, 2368, 2998, 2999]
    check(plain, [outputs[index] for index in sample], [texts[index] for index in sample])
    ids = [int(output.request_id) for output in outputs]
    assert ids == list(range(ids[0], ids[0] + NUM_PROMPTS))


def test_every_output_of_many_is_of_its_own_prompt(plain):
    prompts = [[7 + number % 50] * (1 + number % 30) for number in range(NUM_PROMPTS)]
    assert [output.prompt_token_ids for output in embed(plain, prompts)] == prompts


def test_request_ids_go_on_from_call_to_call(plain):
    first, second = embed(plain, ["a", "b"]), embed(plain, ["a"])
    ids = [int(output.request_id) for output in (*first, *second)]
    assert ids == list(range(ids[0], ids[0] + 3))


def test_prompts_may_come_from_a_generator(plain):
    texts = texts_of(100)
    np.testing.assert_array_equal(vectors(embed(plain, iter(texts)))[7], vectors(embed(plain, texts))[7])


def test_equal_prompts_give_equal_outputs_that_share_no_memory(plain):
    first, second = embed(plain, ["a mill"] * 2)
    assert first.outputs == second.outputs
    first.outputs.array[:] = 0
    assert first.outputs != second.outputs


def test_params_follow_their_prompts_through_the_windows(plain):
    bare, normal = PoolingParams(use_activation=False), PoolingParams()
    params = [bare if number % 3 else normal for number in range(500)]
    lengths = np.linalg.norm(vectors(embed(plain, texts_of(500), pooling_params=params)), axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) == [param is normal for param in params]).all()


def test_while_one_window_is_computed_the_next_is_tokenised(llm, watched, monkeypatch, kit):
    """The second window is prepared while the first is held in the model: else this would wait forever."""
    task, second, waited = llm.pipeline.bind("embed"), threading.Event(), []
    encode = task.encode

    def noted(places, *arguments):
        if places[0]:
            second.set()
        return encode(places, *arguments)

    monkeypatch.setattr(task, "encode", noted)
    watched.watch(lambda _: waited.append(second.wait(kit.patience)))
    assert len(embed(llm, texts_of(100))) == 100
    assert all(waited), "nobody tokenised"


# --- equal texts ---


def test_equal_texts_of_a_call_are_computed_once_and_each_has_its_output(llm, watched):
    seen = []
    watched.watch(seen.extend)
    texts = ["once", "a text that comes thrice", "twice", "a text that comes thrice", {"prompt": "twice"}]
    outputs = embed(llm, [*texts, "a text that comes thrice"])
    assert len(seen) == 3
    assert [output.outputs for output in outputs] == [embed(llm, text)[0].outputs for text in [*texts, texts[1]]]
    assert len({output.request_id for output in outputs}) == 6
    assert all(len(output.prompt_token_ids) > 1 for output in outputs)
    outputs[1].outputs.array[:] = 0
    assert outputs[3].outputs.array.any()
    assert outputs[5].outputs.array.any()


def test_equal_texts_with_other_parameters_are_not_the_same(llm):
    params = [PoolingParams(use_activation=True), PoolingParams(use_activation=False)]
    normal, raw = embed(llm, ["a text"] * 2, pooling_params=params)
    assert np.linalg.norm(normal.outputs.array) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(raw.outputs.array) != pytest.approx(1, abs=1e-3)


def test_each_of_several_equal_invalid_prompts_has_its_own_index(llm):
    outputs = embed(llm, ["good", FAULTY, "good", FAULTY], on_error="return")
    assert [output.error and str(output.error)[:9] for output in outputs] == [None, "prompt 1:", None, "prompt 3:"]


def test_equal_texts_are_computed_separately_without_deduplication(folder):
    with LLM(folder, deduplicate=False) as llm:
        task, prepared = llm.pipeline.bind("embed"), []
        encode = task.encode
        task.encode = lambda places, *arguments: prepared.extend(places) or encode(places, *arguments)
        assert len(embed(llm, ["a text"] * 3)) == 3
        assert prepared == [0, 1, 2]


# --- errors among many ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean(plain):
    """The embeddings of a thousand good texts."""
    return vectors(embed(plain, texts_of(1000)))


@pytest.mark.parametrize("index", [0, 63, 64, 637, 999])
def test_one_invalid_prompt_of_a_thousand_is_returned_with_the_others(plain, clean, index):
    texts = texts_of(1000)
    texts[index] = FAULTY
    outputs = embed(plain, texts, on_error="return")
    assert [number for number, output in enumerate(outputs) if output.error is not None] == [index]
    assert isinstance(outputs[index].error, InvalidInputError)
    assert outputs[index].error.index == index
    assert outputs[index].outputs is None
    others = [number for number in range(1000) if number != index]
    np.testing.assert_allclose(vectors([outputs[number] for number in others]), clean[others], atol=1e-5, rtol=0)


def test_one_invalid_prompt_of_a_thousand_is_raised_with_its_index(plain):
    texts = texts_of(1000)
    texts[637] = FAULTY
    with pytest.raises(InvalidInputError, match=r"^prompt 637: Token id 1000000000") as caught:
        embed(plain, texts)
    assert caught.value.index == 637
    check(plain, embed(plain, ["a mill"]), ["a mill"])


def test_one_failing_input_of_a_thousand_is_returned_with_the_others(llm, watched, kit):
    prompts = [[7 + number % 100] for number in range(1000)]
    prompts[500] = [POISON]
    watched.watch(kit.fails_on(POISON))
    outputs = embed(llm, prompts, on_error="return")
    assert [number for number, output in enumerate(outputs) if output.error is not None] == [500]
    assert isinstance(outputs[500].error, EngineError)
    assert str(outputs[500].error).startswith(FAILED)
    check(llm, [outputs[499], outputs[501]], [prompts[499], prompts[501]])


def test_one_failing_input_of_a_thousand_is_raised_with_its_index(llm, watched, kit):
    watched.watch(kit.fails_on(POISON))
    with pytest.raises(EngineError, match=r"^prompt 500: .*poison") as caught:
        embed(llm, [[POISON if number == 500 else 7] for number in range(1000)])
    assert isinstance(caught.value.__cause__, RuntimeError)
    check(llm, embed(llm, [[7, 8]]), [[7, 8]])


def test_invalid_parameters_name_their_prompt(plain):
    params = [PoolingParams(), PoolingParams(dimensions=7), PoolingParams()]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: .*matryoshka"):
        embed(plain, ["a", "b", "c"], pooling_params=params)


def test_after_an_error_the_rest_of_the_call_is_not_computed(make_llm, watched, kit):
    llm, seen = make_llm(1), []

    def on_forward(sequences):
        seen.extend(sequences)
        kit.fails_on(POISON)(sequences)

    watched.watch(on_forward)
    with pytest.raises(EngineError):
        embed(llm, [[POISON], *([[7, number] for number in range(10, 60)] * 60)])
    embed(llm, [[8, 9]])
    count = len(seen)
    embed(llm, [[9, 9]])
    assert seen[count:] == [(9, 9)]


def test_a_tokeniser_that_breaks_in_its_thread_breaks_the_call_once(plain, monkeypatch, threads_named, kit):
    task = plain.pipeline.bind("embed")
    encode = task.encode

    def breaking(places, *arguments):
        if places[0] >= 320:
            raise RuntimeError("the tokeniser broke")
        return encode(places, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(task, "encode", breaking)
        with pytest.raises(RuntimeError, match="the tokeniser broke"):
            embed(plain, texts_of(1000), on_error="return")
    for thread in threads_named("millpond-render"):
        thread.join(kit.patience)
        assert not thread.is_alive()
    texts = texts_of(100)
    check(plain, embed(plain, texts)[:3], texts[:3])


# --- progress ---------------------------------------------------------------------------------------------------------


def test_a_custom_progress_bar_counts_every_prompt(plain):
    shown = io.StringIO()
    outputs = plain.embed(texts_of(200), use_tqdm=functools.partial(tqdm.tqdm, file=shown, mininterval=0))
    assert len(outputs) == 200
    assert "Processed prompts" in shown.getvalue()
    assert "200/200" in shown.getvalue()


class Bar(contextlib.nullcontext):
    """A progress bar that records its updates, and raises at a count."""

    def __init__(self, *, total, desc, raise_at=None, error=None, **_):
        super().__init__(self)
        self.total, self.desc, self.count = total, desc, 0
        self.raise_at, self.error = raise_at, error

    def update(self, count):
        self.count += count
        if self.raise_at is not None and self.count >= self.raise_at:
            raise self.error


def test_bad_prompts_count_as_progress_too(plain):
    bars = []
    prompts = [FAULTY if number % 7 == 0 else "a" for number in range(100)]
    plain.embed(prompts, on_error="return", use_tqdm=lambda **named: bars.append(Bar(**named)) or bars[-1])
    assert (bars[0].total, bars[0].count) == (100, 100)


@pytest.mark.parametrize("use_tqdm", [True, False])
def test_short_calls_show_no_bar_and_stdout_is_never_written_to(plain, use_tqdm, capfd):
    assert len(plain.embed(["a", "b"], use_tqdm=use_tqdm)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert use_tqdm or err == ""


@pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt()])
def test_a_progress_bar_that_raises_leaves_the_model_usable(plain, error):
    with pytest.raises(type(error)):
        plain.embed(texts_of(1000), use_tqdm=functools.partial(Bar, raise_at=10, error=error))
    texts = texts_of(5)
    check(plain, embed(plain, texts), texts)


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


def test_an_error_in_one_threads_call_harms_no_other(llm, watched, kit):
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
        gate.wait()
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
