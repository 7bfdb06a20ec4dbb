"""Padding requested by a call: ``padding``, ``pad_prompt_tokens``, and the padding token of checkpoints."""

import json

import numpy as np
import pytest

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_models.testing.dual_encoders import tiny_dual_encoder

CAT = [2, 160, 98, 3]


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"padding": "max_length"}, 64),
        ({"padding": True}, 64),
        ({"padding": "do_not_pad"}, 4),
        ({"padding": False}, 4),
        ({"pad_prompt_tokens": 9}, 9),
        ({"pad_prompt_tokens": 3}, 4),
        ({"pad_prompt_tokens": -1}, 64),
        ({"pad_prompt_tokens": 9, "padding": "max_length"}, 9),
        ({"truncate_prompt_tokens": 3, "pad_prompt_tokens": 9}, 9),
    ],
    ids=str,
)
def test_a_call_can_pad_prompts(tiny_bert, settings, length):
    kept = CAT if "truncate_prompt_tokens" not in settings else [2, 160, 3]
    expected = kept + [0] * (length - len(kept))
    (output,) = tiny_bert.embed("the cat", tokenization_kwargs=settings)
    assert output.prompt_token_ids == expected
    assert np.array_equal(output.outputs.array, tiny_bert.embed([expected])[0].outputs.array)


def test_token_ids_are_padded_too(tiny_bert):
    (output,) = tiny_bert.embed([[5, 6]], pooling_params=PoolingParams(pad_prompt_tokens=4))
    assert output.prompt_token_ids == [5, 6, 0, 0]


def test_a_call_can_turn_off_the_padding_of_a_model(tmp_path, load):
    llm = load(tiny_dual_encoder("SiglipModel", tmp_path))
    filled, plain = (llm.embed("sun", tokenization_kwargs={"padding": way})[0] for way in ("max_length", "do_not_pad"))
    assert filled.prompt_token_ids == llm.embed("sun")[0].prompt_token_ids
    assert plain.num_prompt_tokens < filled.num_prompt_tokens == llm.model_config.max_model_len


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad_prompt_tokens": 65}, "pad_prompt_tokens=65 is greater than the maximum length of 64 tokens"),
        ({"pad_prompt_tokens": -2}, "pad_prompt_tokens"),
    ],
    ids=str,
)
def test_invalid_padding_is_refused(tiny_bert, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        tiny_bert.embed("the cat", tokenization_kwargs=settings)


def test_padding_of_a_pair_is_refused(tmp_path, load):
    llm = load(tiny("BertForSequenceClassification", tmp_path / "model", num_labels=1))
    with pytest.raises(InvalidInputError, match="padding='max_length' is not supported for pairs"):
        llm.score("a", "b", tokenization_kwargs={"padding": "max_length"})
    assert llm.score("a", "b", tokenization_kwargs={"padding": "do_not_pad"})


@pytest.mark.parametrize("architecture", ["BertModel", "XLMRobertaModel"])
def test_the_usage_of_a_pair_counts_the_padding_token_that_no_file_names(tmp_path, load, architecture):
    folder = tiny(architecture, tmp_path / "model")
    named = load(folder).score("the cat", "a dog")[0].prompt_token_ids
    path = folder / "tokenizer_config.json"
    settings = {name: value for name, value in json.loads(path.read_text()).items() if name != "pad_token"}
    path.write_text(json.dumps({**settings, "tokenizer_class": architecture.replace("Model", "Tokenizer")}))
    (output,) = load(folder).score("the cat", "a dog")
    query, document = (load(folder).embed(text)[0].prompt_token_ids for text in ("the cat", "a dog"))
    assert output.prompt_token_ids == named
    assert len(named) == len(query) + 1 + len(document)


@pytest.mark.parametrize("special", [False, True, None])
def test_a_call_can_omit_special_tokens(tiny_bert, special):
    settings = {} if special is None else {"add_special_tokens": special}
    output, ids = tiny_bert.embed(["the cat", [2, 98, 3]], tokenization_kwargs=settings)
    assert output.prompt_token_ids == (CAT[1:-1] if special is False else CAT)
    assert ids.prompt_token_ids == [2, 98, 3]


def test_a_pair_keeps_its_special_tokens(tmp_path, load):
    llm = load(tiny("BertForSequenceClassification", tmp_path / "model", num_labels=1))
    with pytest.raises(InvalidInputError, match="add_special_tokens=False is not supported for pairs"):
        llm.score("a", "b", tokenization_kwargs={"add_special_tokens": False})
