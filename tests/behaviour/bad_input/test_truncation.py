"""Test truncation: megabytes of text cost only the part that is kept, and invalid limits are refused."""

import re

import pytest

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import vocabulary

WORD_CHARS, TEXT_CHARS = 300_000, 10_000_000


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "text",
    [
        "the cat was on the hill " * (TEXT_CHARS // 24),
        "é" * WORD_CHARS,
        " " * WORD_CHARS + "the cat" + " " * WORD_CHARS,
        "é" * 100_000 + " the cat " * 10_000,
    ],
    ids=["words", "one word", "space", "mixed"],
)
def test_truncated_megabytes_equal_full_tokenization(tiny_bert, text, side):
    """Only the part that is kept is tokenized: a long text must not block a server for minutes."""
    params = PoolingParams(truncate_prompt_tokens=-1, truncation_side=side)
    (output,) = tiny_bert.embed(text, pooling_params=params, use_tqdm=False)
    words = text.split()
    ids = vocabulary()
    whole = [piece for word in (words[:80] if side == "right" else words[-80:]) for piece in pieces(word, ids)]
    kept = whole[:62] if side == "right" else whole[-62:]
    assert output.prompt_token_ids == [ids["[CLS]"], *kept, ids["[SEP]"]]


def pieces(word, ids):
    """Return the token ids of a word, which is one token in the vocabulary of the tiny tokenizer or unknown."""
    return [ids.get(word, ids["[UNK]"])] if set(word) != {"é"} else [ids["[UNK]"]]


def test_megabytes_among_short_texts(tiny_bert):
    texts = ["the cat", "word " * (TEXT_CHARS // 5), "a dog"]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: This model's maximum context length"):
        tiny_bert.embed(texts)
    outputs = tiny_bert.embed(texts, truncate_prompt_tokens=10, use_tqdm=False)
    assert [output.num_prompt_tokens for output in outputs] == [4, 10, 4]
    assert [output.truncated for output in outputs] == [False, True, False]


@pytest.mark.parametrize("value", [0, 1, 2])
def test_truncation_that_leaves_nothing_is_refused(tiny_bert, value):
    with pytest.raises(
        InvalidInputError, match=rf"truncate_prompt_tokens={value} leaves an empty prompt: .* at least 3"
    ):
        tiny_bert.embed("the cat", truncate_prompt_tokens=value)


@pytest.mark.parametrize("max_model_len", [1, 2])
def test_a_limit_that_leaves_nothing_is_refused(checkpoint, load, max_model_len):
    llm = load(checkpoint, max_model_len=max_model_len)
    with pytest.raises(InvalidInputError, match="leaves an empty prompt"):
        llm.embed("the cat", truncate_prompt_tokens=-1)
    assert llm.embed([5] * max_model_len)[0].num_prompt_tokens == max_model_len


def test_token_ids_can_be_cut_to_one(tiny_bert):
    (output,) = tiny_bert.embed([5, 6, 7], truncate_prompt_tokens=1)
    assert (output.prompt_token_ids, output.num_dropped_tokens) == ([5], 2)
    with pytest.raises(InvalidInputError, match="truncate_prompt_tokens=0 leaves an empty prompt"):
        tiny_bert.embed([5, 6, 7], truncate_prompt_tokens=0)


def test_truncation_over_the_maximum_is_refused(tiny_bert):
    message = "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        tiny_bert.embed("the cat", truncate_prompt_tokens=65)
    with pytest.raises(InvalidInputError, match=f"^prompt 1: {re.escape(message)}$"):
        tiny_bert.embed(["the cat"] * 2, pooling_params=[None, PoolingParams(truncate_prompt_tokens=65)])
    assert tiny_bert.embed("the cat", truncate_prompt_tokens=64)[0].num_prompt_tokens == 4


@pytest.mark.parametrize("value", [-2, "5", 2.0, True], ids=repr)
def test_truncation_to_invalid_lengths_is_refused(tiny_bert, value):
    with pytest.raises(InvalidInputError, match="truncate_prompt_tokens"):
        tiny_bert.embed("the cat", truncate_prompt_tokens=value)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"truncate_prompt_tokens": 4}, "one two"),
        ({"max_length": 4}, "one two"),
        ({"truncation": True, "max_length": 4}, "one two"),
        ({"truncate_prompt_tokens": 4, "truncation_side": "left"}, "the sun"),
        ({"truncation": True}, "one two in the sun"),
        ({"truncation": False}, "one two in the sun"),
        ({"truncation": False, "max_length": 4}, "one two in the sun"),
        ({"max_length": None}, "one two in the sun"),
        ({"padding": False, "add_special_tokens": True}, "one two in the sun"),
        ({}, "one two in the sun"),
    ],
    ids=str,
)
def test_tokenization_kwargs_of_vllm(tiny_bert, settings, kept):
    (output,) = tiny_bert.embed("one two in the sun", tokenization_kwargs=settings)
    assert output.prompt_token_ids == tiny_bert.embed(kept)[0].prompt_token_ids


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"truncation_side": "up", "truncate_prompt_tokens": 4}, "truncation_side"),
        ({"max_length": "x"}, "truncate_prompt"),
    ],
    ids=str,
)
def test_invalid_tokenization_kwargs_are_refused(tiny_bert, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        tiny_bert.embed("the cat", tokenization_kwargs=settings)


@pytest.mark.parametrize("settings", [{"stride": 4}, {"truncation": "only_second"}], ids=str)
def test_tokenization_kwargs_without_effect_warn(tiny_bert, settings):
    (name,) = settings
    with pytest.warns(UserWarning, match=f"'{name}' has no effect") as caught:
        tiny_bert.embed("the cat", tokenization_kwargs=settings)
    assert [warning.filename for warning in caught] == [__file__]
