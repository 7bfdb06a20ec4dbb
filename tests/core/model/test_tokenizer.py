"""The tokenizer's files: damaged ones, older formats, and agreement with transformers."""

import json

import numpy as np
import pytest

from millpond import LLM, CheckpointError, InvalidInputError


@pytest.mark.parametrize("stated", [{"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False}], ids=str)
@pytest.mark.parametrize("name", ["BertTokenizerFast", "MPNetTokenizer", "PreTrainedTokenizerFast"])
def test_lower_case_and_accents_are_as_the_class_of_transformers_has_them(checkpoint, load, name, stated):
    from transformers import AutoTokenizer

    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": name} | stated))
    theirs = AutoTokenizer.from_pretrained(str(checkpoint))
    texts = ["The CAT", "caf\u00e9 Caf\u00e9", "a\u6771b"]
    tokenizer = load(checkpoint).get_tokenizer()
    assert [tokenizer(text)["input_ids"] for text in texts] == [theirs(text)["input_ids"] for text in texts]


def test_padding_and_truncation_in_the_tokenizer_are_switched_off(checkpoint, load, expected, prompt):
    path = checkpoint / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"] = {
        "strategy": {"Fixed": 32},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(tokenizer))
    (output,) = load(checkpoint).embed(prompt)
    assert np.array_equal(output.outputs.array, expected)
    assert 0 not in output.prompt_token_ids


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"model": {"type": "Nope"}}'])
def test_a_damaged_tokenizer_is_named(checkpoint, text):
    (checkpoint / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        LLM(str(checkpoint))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_tokenizer_config_is_named(checkpoint, text):
    (checkpoint / "tokenizer_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        LLM(str(checkpoint))


def test_an_older_tokenizer_is_converted(checkpoint, load, expected, vector):
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    (checkpoint / "vocab.txt").write_text("\n".join(vocabulary))
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").unlink()
    assert np.array_equal(vector(load(checkpoint)), expected)


def test_an_older_tokenizer_that_cannot_be_converted_is_named(checkpoint):
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "spiece.model").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json, and transformers cannot convert"):
        LLM(str(checkpoint))


@pytest.mark.parametrize("text", ["a\ud800b", 3, None])
def test_a_batch_with_a_text_that_is_not_unicode_is_refused(checkpoint, load, text):
    tokenizer = load(checkpoint).pipeline.ctx.tokenizer
    with pytest.raises(InvalidInputError, match="is not valid Unicode text"):
        tokenizer.encode_batch(["the cat", text])
