"""A bad prompt among many costs no other, and the model serves on."""

import numpy as np
import pytest

from millpond import InvalidInputError


@pytest.mark.parametrize("place", [0, 64, 999])
def test_one_bad_prompt_of_a_thousand_costs_no_other(tiny_bert, place, arrays):
    prompts = [f"the cat sat on hill {number}" for number in range(1000)]
    expected = arrays(tiny_bert.embed(prompts, use_tqdm=False))
    prompts[place] = "the cat \ud800"
    with pytest.raises(InvalidInputError, match=rf"^prompt {place}: the text has a lone surrogate"):
        tiny_bert.embed(prompts, use_tqdm=False)
    found = tiny_bert.embed(prompts, use_tqdm=False, on_error="return")
    assert [number for number, output in enumerate(found) if output.error is not None] == [place]
    assert found[place].error.index == place
    rest = [number for number in range(1000) if number != place]
    assert np.abs(arrays([found[number] for number in rest]) - expected[rest]).max() <= 1e-5


def test_every_bad_prompt_of_many_is_returned_in_its_place(tiny_bert):
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
    found = tiny_bert.embed(prompts, on_error="return")
    assert [output.error is None for output in found] == [True, False] * 3 + [False] * 3 + [True]
    assert [output.error.index for output in found if output.error] == [1, 3, 5, 6, 7, 8]


def test_after_an_error_the_model_serves_on(tiny_bert, arrays):
    before = arrays(tiny_bert.embed(["the cat"]))
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            tiny_bert.embed(["the cat"] * 200 + ["\ud800"])
    assert np.array_equal(arrays(tiny_bert.embed(["the cat"])), before)
