"""The forms of prompts: one prompt, a list of prompts, and invalid values."""

import re

import numpy as np
import pytest
import torch

from millpond import InvalidInputError
from millpond.types.prompts import is_token_id, split_prompts
from millpond_io.prompts import parse_prompt
from millpond_text.prompt import Prompt


def text(value):
    return Prompt(text=value)


def ids(*values):
    return Prompt(token_ids=values)


def without_address(value):
    """Return an id without an address, which would differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Ids:
    """An iterable that is not a list."""

    def __iter__(self):
        return iter([5, 6])


class Text(str):
    """A subclass of str."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("a", [text("a")]),
        ("", [text("")]),
        (Text("a"), [text("a")]),
        (["a"], [text("a")]),
        (["a", "b"], [text("a"), text("b")]),
        (("a", "b"), [text("a"), text("b")]),
        ((letter for letter in "ab"), [text("a"), text("b")]),
        (np.array(["a", "b"]), [text("a"), text("b")]),
        (np.array(["a", "b"], dtype=object), [text("a"), text("b")]),
        ([5, 6], [ids(5, 6)]),
        ((5, 6), [ids(5, 6)]),
        (range(5, 7), [ids(5, 6)]),
        ((number for number in (5, 6)), [ids(5, 6)]),
        (np.array([5, 6]), [ids(5, 6)]),
        (np.array([5, 6], dtype=np.uint8), [ids(5, 6)]),
        (torch.tensor([5, 6]), [ids(5, 6)]),
        ([np.int64(5), 6], [ids(5, 6)]),
        ([torch.tensor(5), 6], [ids(5, 6)]),
        ([np.array(5), 6], [ids(5, 6)]),
        ([[5, 6], [7]], [ids(5, 6), ids(7)]),
        ([(5, 6), [7]], [ids(5, 6), ids(7)]),
        ([[]], [ids()]),
        (np.array([[5, 6], [7, 8]]), [ids(5, 6), ids(7, 8)]),
        (torch.tensor([[5, 6], [7, 8]]), [ids(5, 6), ids(7, 8)]),
        ([range(5, 7), np.array([7]), Ids()], [ids(5, 6), ids(7), ids(5, 6)]),
        (["a", [5, 6], {"prompt": "b"}], [text("a"), ids(5, 6), text("b")]),
        ([[5, 6], "a"], [ids(5, 6), text("a")]),
        ({"prompt": "a"}, [text("a")]),
        ({"prompt_token_ids": [5, 6]}, [ids(5, 6)]),
        ({"prompt_token_ids": (number for number in (5, 6))}, [ids(5, 6)]),
        ({"prompt_token_ids": np.array([5, 6])}, [ids(5, 6)]),
        ({"prompt": "a", "prompt_token_ids": None, "cache_salt": "x", "mm_processor_kwargs": {}}, [text("a")]),
        ({"prompt": "a", "multi_modal_data": None}, [text("a")]),
        ({"prompt": "a", "multi_modal_data": {}}, [text("a")]),
        ({"prompt": "a", "multi_modal_data": {"image": 1}}, [Prompt(text="a", multi_modal_data={"image": 1})]),
        ({"multi_modal_data": {"image": 1}}, [Prompt(multi_modal_data={"image": 1})]),
    ],
    ids=without_address,
)
def test_form(value, prompts):
    parsed = [parse_prompt(item) for item in split_prompts(value)]
    assert parsed == prompts
    assert all(prompt.text is None or type(prompt.text) is str for prompt in parsed)


@pytest.mark.parametrize(
    "value",
    [None, 5, 1.5, True, b"a", bytearray(b"a"), object(), np.array(5), torch.tensor(5)],
    ids=without_address,
)
def test_values_without_prompts_are_refused(value):
    with pytest.raises(
        InvalidInputError, match=r'^expected a str, a list of token ids, \{"prompt": str\}.*; got'
    ) as caught:
        split_prompts(value)
    assert caught.value.parameter == "prompts"
    assert type(value).__name__ in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [{"a", "b"}, frozenset("ab"), set(), {"a": 1}.keys(), {"a": "b"}.values(), {"a": 1}.items()],
    ids=lambda value: type(value).__name__,
)
def test_collections_without_places_are_refused(value):
    with pytest.raises(InvalidInputError, match=rf"and a {type(value).__name__} has none\. Pass a list") as caught:
        split_prompts(value)
    assert caught.value.parameter == "prompts"
    with pytest.raises(InvalidInputError, match="results are returned in the order of prompts"):
        parse_prompt({"prompt_token_ids": value})


@pytest.mark.parametrize("value", [[], (), np.array([]), np.zeros((0, 3), dtype=int), iter([])], ids=without_address)
def test_no_prompts_are_refused(value):
    with pytest.raises(InvalidInputError, match="You must pass at least one prompt"):
        split_prompts(value)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "got NoneType"),
        (5, "got int"),
        (1.5, "got float"),
        (True, "got bool"),
        (b"a", "got bytes"),
        (np.float64(1), "got float64"),
        (np.array(5), "got ndarray"),
        (torch.tensor(5), "got Tensor"),
        ({}, r"got a dict with the keys \[\]"),
        ({"text": "a"}, r"got a dict with the keys \['text'\]"),
        ({"prompt": None}, r"got a dict with the keys \['prompt'\]"),
        ({"prompt": "a", "prompt_token_ids": [5]}, "has one of .* got 'prompt', 'prompt_token_ids'"),
        ({"prompt": "a", "data": 1}, "has one of .* got 'prompt', 'data'"),
        (
            {"prompt": "a", "promt": "b"},
            r"Unknown field 'promt' of a prompt\. Available: prompt, ",
        ),
        ({"prompt": "a", 3: "b"}, "Unknown field '3' of a prompt"),
        (
            {"messages": [{"role": "user", "content": "a"}], "chat_templat": "b"},
            r"Unknown field 'chat_templat' of .*Available: prompt, prompt_token_ids, data, messages, chat_template",
        ),
        ({"prompt": 5}, "'prompt' must be a str; got int"),
        ({"prompt": ["a"]}, "'prompt' must be a str; got list"),
        ({"prompt": b"a"}, "'prompt' must be a str; got bytes"),
        ({"prompt_token_ids": 5}, "'prompt_token_ids' must be a list of integers; got int"),
        ({"prompt_token_ids": "56"}, "'prompt_token_ids' must be a list of integers; got str"),
        ({"prompt_token_ids": b"56"}, "'prompt_token_ids' must be a list of integers; got bytes"),
        ({"prompt_token_ids": {5: 6}}, "'prompt_token_ids' must be a list of integers; got dict"),
        ({"prompt_token_ids": np.array(5)}, "'prompt_token_ids' must be a list of integers; got ndarray"),
        ({"prompt_embeds": [[0.5]]}, "'prompt_embeds' is not supported: pass 'prompt' or 'prompt_token_ids'"),
        ({"data": None}, "The 'data' field of the prompt .* cannot be None"),
        ({"prompt": "a", "multi_modal_data": "image.png"}, "'multi_modal_data' must be a dict .* got str"),
        ({"prompt": "a", "multi_modal_data": [1]}, "'multi_modal_data' must be a dict .* got list"),
    ],
    ids=repr,
)
def test_an_item_that_is_not_a_prompt_is_refused(item, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        parse_prompt(item)
    assert caught.value.parameter is not None


@pytest.mark.parametrize("value", [0, 5, -1, 2**70, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5)], ids=repr)
def test_integers_are_token_ids(value):
    assert is_token_id(value)


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.True_,
        torch.tensor(True),
        1.0,
        np.float32(1),
        torch.tensor(1.0),
        torch.tensor(6.5),
        np.array([5]),
        torch.tensor([5]),
        np.array([5, 6]),
        "5",
        b"5",
        None,
        [5],
        int,
        complex(1),
    ],
    ids=repr,
)
def test_a_token_id_must_be_an_integer(value):
    assert not is_token_id(value)
