"""Calls of LLM with many prompts: order, windows, equal texts, and errors among valid prompts."""

import threading

import numpy as np
import pytest
from llm_kit import FAULTY, POISON, check, embed, texts_of, vectors

from millpond import LLM, PoolingParams
from millpond.types.errors import EngineError, InvalidInputError

BERT = "architecture 'BertModel' of plugin runtime"
FAILED = f"prompt 500: {BERT} failed on this request: RuntimeError: poison"
NUM_PROMPTS = 3000


# --- order and windows ------------------------------------------------------------------------------------------------


def test_windows_of_thousands_of_prompts_equal_single_calls(plain):
    texts = texts_of(NUM_PROMPTS)
    outputs = embed(plain, texts)
    assert len(outputs) == NUM_PROMPTS
    sample = [0, 1, 63, 64, 65, 319, 320, 321, 1343, 1344, 2367, 2368, 2998, 2999]
    check(plain, [outputs[index] for index in sample], [texts[index] for index in sample])
    ids = [int(output.request_id) for output in outputs]
    assert ids == list(range(ids[0], ids[0] + NUM_PROMPTS))


def test_every_output_belongs_to_its_prompt(plain):
    prompts = [[7 + number % 50] * (1 + number % 30) for number in range(NUM_PROMPTS)]
    assert [output.prompt_token_ids for output in embed(plain, prompts)] == prompts


def test_request_ids_continue_from_call_to_call(plain):
    first, second = embed(plain, ["a", "b"]), embed(plain, ["a"])
    ids = [int(output.request_id) for output in (*first, *second)]
    assert ids == list(range(ids[0], ids[0] + 3))


def test_prompts_may_come_from_a_generator(plain):
    texts = texts_of(100)
    np.testing.assert_array_equal(vectors(embed(plain, iter(texts)))[7], vectors(embed(plain, texts))[7])


def test_equal_prompts_have_equal_outputs_that_share_no_memory(plain):
    first, second = embed(plain, ["a mill"] * 2)
    assert first.outputs == second.outputs
    first.outputs.array[:] = 0
    assert first.outputs != second.outputs


def test_params_follow_their_prompts_through_the_windows(plain):
    bare, normal = PoolingParams(use_activation=False), PoolingParams()
    params = [bare if number % 3 else normal for number in range(500)]
    lengths = np.linalg.norm(vectors(embed(plain, texts_of(500), pooling_params=params)), axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) == [param is normal for param in params]).all()


def test_while_one_window_is_computed_the_next_is_tokenized(llm, watched, monkeypatch, kit):
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
    assert all(waited), "no text was tokenized"


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


def test_a_tokenizer_that_fails_in_its_thread_fails_the_call_once(plain, monkeypatch, threads_named, kit):
    task = plain.pipeline.bind("embed")
    encode = task.encode

    def breaking(places, *arguments):
        if places[0] >= 320:
            raise RuntimeError("the tokenizer broke")
        return encode(places, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(task, "encode", breaking)
        with pytest.raises(RuntimeError, match="the tokenizer broke"):
            embed(plain, texts_of(1000), on_error="return")
    for thread in threads_named("millpond-render"):
        thread.join(kit.patience)
        assert not thread.is_alive()
    texts = texts_of(100)
    check(plain, embed(plain, texts)[:3], texts[:3])
