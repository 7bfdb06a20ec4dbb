"""Test one invalid prompt among many: the others succeed, and the model remains usable."""

import numpy as np
import pytest

from millpond import InvalidInputError


@pytest.mark.parametrize("index", [0, 64, 999])
def test_one_invalid_prompt_of_a_thousand_does_not_affect_others(tiny_bert, index, arrays):
    prompts = [f"the cat sat on hill {number}" for number in range(1000)]
    expected = arrays(tiny_bert.embed(prompts, use_tqdm=False))
    prompts[index] = "the cat \ud800"
    with pytest.raises(InvalidInputError, match=rf"^prompt {index}: the text has a lone surrogate"):
        tiny_bert.embed(prompts, use_tqdm=False)
    outputs = tiny_bert.embed(prompts, use_tqdm=False, on_error="return")
    assert [number for number, output in enumerate(outputs) if output.error is not None] == [index]
    assert outputs[index].error.index == index
    rest = [number for number in range(1000) if number != index]
    assert np.abs(arrays([outputs[number] for number in rest]) - expected[rest]).max() <= 1e-5


def test_every_invalid_prompt_has_an_error_at_its_index(tiny_bert):
    prompts = [
        "the cat",
        "a\udfff",
        [5, 6],
        [-1],
        {"prompt": "a dog"},
        None,
        "\ud800",
        [10**9],
        "word " * 99,
        "the end",
    ]
    outputs = tiny_bert.embed(prompts, on_error="return")
    assert [output.error is None for output in outputs] == [True, False] * 3 + [False] * 3 + [True]
    assert [output.error.index for output in outputs if output.error] == [1, 3, 5, 6, 7, 8]


def test_the_model_is_usable_after_an_error(tiny_bert, arrays):
    before = arrays(tiny_bert.embed(["the cat"]))
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            tiny_bert.embed(["the cat"] * 200 + ["\ud800"])
    assert np.array_equal(arrays(tiny_bert.embed(["the cat"])), before)
