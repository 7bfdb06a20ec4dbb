"""Test errors of invalid prompts, which contain their index and the fix, and unusual but valid texts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond import InvalidInputError

MEGABYTES = 10_000_000


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"prompt": "", "add_special_tokens": False}, "the text is empty: pass at least one character"),
        ({"prompt": " ", "add_special_tokens": False}, "the text has no tokens"),
        ({5, 6}, r"and a set has none.* list\(...\)"),
        ({"prompt_token_ids": frozenset((5, 6))}, "and a frozenset has none"),
        ([], "the list of token ids is empty"),
        ({"prompt_token_ids": []}, "the list of token ids is empty"),
        ("the " * 63, r"maximum context length is 64 tokens.* contains 65 input tokens.* truncate_prompt_tokens=-1"),
        ([5] * 65, "maximum context length is 64 tokens.* contains 65 input tokens"),
        ("a" * MEGABYTES, r"maximum context length is 64 tokens.* 10000000 characters \(more than 32768 characters"),
        ([5, 182], "Token id 182 is out of vocabulary: ids go from 0 to 181"),
        ([5, -1], "Token id -1 is out of vocabulary: ids go from 0 to 181"),
        ([2**70], f"Token id {2**70} is out of vocabulary"),
        ([5, "6"], r"token ids must be integers; number 1 is '6' \(str\)"),
        ([5, 6.0], r"token ids must be integers; number 1 is 6\.0 \(float\)"),
        ([5, None], r"token ids must be integers; number 1 is None \(NoneType\)"),
        ([5, True], r"token ids must be integers; number 1 is True \(bool\)"),
        ([5, [6]], r"token ids must be integers; number 1 is \[6\] \(list\)"),
        (torch.tensor([5.5, 6.5]), r"token ids must be integers; number 0 is tensor\(5\.5\d*\) \(Tensor\)"),
        (np.array([5.0]), r"token ids must be integers; number 0 is .*5\.0.* \(float64\)"),
        ("\ud800", r"lone surrogate, '\\ud800', at character 0"),
        ("the cat \udfff sat", r"lone surrogate, '\\udfff', at character 8, .*decode the source as UTF-8"),
        ({"prompt": "a\ud83d"}, r"lone surrogate, '\\ud83d', at character 1"),
        (None, "got NoneType"),
        (3.5, "got float"),
        (b"the cat", "got bytes"),
        (object(), "got object"),
        ({"text": "a"}, r"got a dict with the keys \['text'\]"),
        ({"prompt": "a", "promt": "b"}, "Unknown field 'promt' of a prompt"),
        ({"prompt": "a", "prompt_token_ids": [5]}, "has one of"),
        ({"prompt_embeds": torch.zeros(2, 32)}, "'prompt_embeds' is not supported"),
        ({"data": {"any": 1}}, "only supported for the 'plugin' pooling task"),
        (
            {"prompt": "a", "multi_modal_data": {"image": "x"}},
            "accepts only text, and the prompt has 'multi_modal_data'",
        ),
    ],
    ids=lambda value: "an object" if type(value) is object else repr(value)[:40],
)
def test_errors_of_invalid_prompts_contain_the_index(tiny_bert, prompt, message, arrays):
    expected = arrays(tiny_bert.embed(["the cat", "a dog"]))
    prompts = ["the cat", prompt, "a dog"]
    with pytest.raises(InvalidInputError, match=rf"^prompt 1: .*{message}") as caught:
        tiny_bert.embed(prompts)
    assert caught.value.index == 1
    assert caught.value.parameter is not None
    assert len(str(caught.value)) < 1000
    first, bad, last = tiny_bert.embed(prompts, on_error="return")
    assert np.abs(arrays([first, last]) - expected).max() <= 1e-6
    assert (bad.outputs, bad.prompt_token_ids, bad.num_prompt_tokens) == (None, [], 0)
    assert isinstance(bad.error, InvalidInputError)
    assert (str(bad.error), bad.error.index) == (str(caught.value), 1)


@pytest.mark.parametrize("item", [np.array(7), torch.tensor(7), 7, True], ids=repr)
def test_a_number_among_texts_is_refused_with_its_index(tiny_bert, item):
    with pytest.raises(InvalidInputError, match=r"^prompt 1: expected a str"):
        tiny_bert.embed(["the cat", item])


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("prompts", [[], (), None, 5, 2.5, b"a", np.array([])], ids=repr)
def test_a_call_without_prompts_is_refused(tiny_bert, prompts, on_error):
    with pytest.raises(InvalidInputError, match=r"at least one prompt|expected a str") as caught:
        tiny_bert.embed(prompts, on_error=on_error)
    assert (caught.value.index, caught.value.parameter) == (None, "prompts")


@pytest.mark.parametrize("text", [" ", "\n\t ", "\0", "\0\x01\x02", "the\0cat", "\u200b", "\ufffd", "🙂"], ids=repr)
def test_unusual_characters_are_valid(tiny_bert, text):
    (output,) = tiny_bert.embed(text)
    assert np.isfinite(output.outputs.array).all()
    assert output.prompt_token_ids[:: output.num_prompt_tokens - 1] == [2, 3]


@given(text=st.text(alphabet=st.characters(codec=None), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_text_is_embedded_or_refused(tiny_bert, text):
    """Texts include surrogates and control characters. No other exception is raised, and no NaN is returned."""
    (output,) = tiny_bert.embed([text], truncate_prompt_tokens=-1, on_error="return")
    try:
        text.encode()
    except UnicodeEncodeError:
        assert isinstance(output.error, InvalidInputError)
    else:
        assert output.error is None
        assert np.isfinite(output.outputs.array).all()
