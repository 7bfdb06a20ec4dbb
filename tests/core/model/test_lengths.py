"""The maximum length: the file whose value applies, and the values that a caller may request."""

import json

import pytest

from millpond import LLM, InvalidInputError
from millpond.testing.checkpoints import tiny


def test_one_of_the_files_that_state_a_maximum_length_is_used(checkpoint, load):
    def longest():
        return load(checkpoint).model_config.max_model_len

    def truncate(length):
        path = checkpoint / "tokenizer.json"
        fields = {"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": fields}))

    assert longest() == 64  # config.json and tokenizer_config.json
    truncate(8)
    assert longest() == 64  # tokenizer.json is ignored
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    for stated, counts in ((48, 48), (80, 64), (10**30, 64), (1e30, 64), (0, 64), (-1, 64), (None, 64), ("9", 64)):
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": stated}))
        assert longest() == counts, stated
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 48}))
    for stated, counts in ((32, 32), (56, 56), (100, 64), (0, 48), (-5, 48), (True, 48), ("32", 48), (None, 48)):
        limits = {"max_seq_length": stated, "do_lower_case": False}
        (checkpoint / "sentence_bert_config.json").write_text(json.dumps(limits))
        assert longest() == counts, stated


@pytest.mark.parametrize("asked", [1, 3, 63, 64])
def test_a_shorter_limit_may_be_requested(checkpoint, load, asked):
    llm = load(checkpoint, max_model_len=asked)
    assert llm.model_config.max_model_len == asked
    assert llm.embed([5] * asked)[0].num_prompt_tokens == asked
    with pytest.raises(InvalidInputError, match=f"maximum context length is {asked} tokens"):
        llm.embed([5] * (asked + 1))


@pytest.mark.parametrize("asked", [0, -1, "64", 64.0, True, [64]], ids=repr)
def test_a_limit_that_is_no_count_is_refused(checkpoint, asked):
    with pytest.raises(InvalidInputError, match="max_model_len must be a positive number of tokens"):
        LLM(str(checkpoint), max_model_len=asked)


def test_a_limit_over_the_positions_is_refused_in_every_environment(checkpoint, monkeypatch):
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    with pytest.raises(InvalidInputError, match="max_model_len=65 exceeds the 64 position embeddings of the model"):
        LLM(str(checkpoint), max_model_len=65)


def test_a_limit_over_that_of_the_files_needs_the_environment_variable(checkpoint, load, monkeypatch):
    (checkpoint / "sentence_bert_config.json").write_text('{"max_seq_length": 32, "do_lower_case": false}')
    message = r"max_model_len=48 exceeds the model's maximum of 32 tokens, stated by sentence_bert_config\.json"
    with pytest.raises(InvalidInputError, match=rf"{message} .*MILLPOND_ALLOW_LONG_MAX_MODEL_LEN=1"):
        LLM(str(checkpoint), max_model_len=48)
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    assert load(checkpoint, max_model_len=48).model_config.max_model_len == 48


def test_a_limit_over_the_trained_length_is_obeyed_with_a_warning(tmp_path, load, caplog):
    folder = tiny("NomicBertModel", tmp_path, n_positions=128, max_trained_positions=32)
    assert load(folder).model_config.max_model_len == 32
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 96, "do_lower_case": false}')
    assert load(folder).model_config.max_model_len == 32
    assert not caplog.records
    llm = load(folder, max_model_len=96)
    assert llm.embed([5] * 96)[0].num_prompt_tokens == 96
    assert "max_model_len=96 is over the 32 tokens that the model was trained for" in caplog.text
    with pytest.raises(InvalidInputError, match="max_model_len=97 exceeds the model's maximum of 32 tokens"):
        LLM(str(folder), max_model_len=97)
